-- Add sales to unit-days, remember their ids and move the position, or do nothing of it.
-- KEYS: position, prefix of cells, prefix of dirty, prefix of seen, firsts, sealed, token of a rebuild
-- ARGV: start, end, cells (JSON), ids by day (JSON: [[day, how many], ...]), the ids one after the other, bytes of an id,
-- the most that a unit-day may hold
-- A cell is 'quantity revenue cost costed events published revision[ late]'; `published` is its `events` when last
-- published, `late` those of them that came after its day had been closed, absent where there are none.
-- Returns the position; -1 where a day of the cells takes no more sales, or while the input is rebuilt; a list of those ids (from 0) that were counted
-- before; or 'full' with [place of a cell (from 0), quantity, revenue, cost] (JSON) of each unit-day that cannot hold more.
local stored = tonumber(redis.call('GET', KEYS[1]) or '0')
if stored ~= tonumber(ARGV[1]) then
  return stored
end
if redis.call('EXISTS', KEYS[7]) == 1 then return -1 end
local cells, days = cjson.decode(ARGV[3]), {}
for _, c in ipairs(cells) do
  local place = c[1] .. ':' .. c[2]
  if not days[place] then
    local last = redis.call('HGET', KEYS[6], c[1])
    if last and c[2] <= tonumber(last) then return -1 end
    days[place] = true
  end
end
local batches, known, from, seen, size = cjson.decode(ARGV[4]), {}, 1, 0, tonumber(ARGV[6])
for _, batch in ipairs(batches) do
  local ids = {}
  for i = 1, batch[2] do
    ids[i] = ARGV[5]:sub(from, from + size - 1)
    from = from + size
  end
  batch[3] = ids
  for i, there in ipairs(redis.call('SMISMEMBER', KEYS[4] .. batch[1], unpack(ids))) do
    if there == 1 then known[#known + 1] = seen + i - 1 end
  end
  seen = seen + batch[2]
end
if #known > 0 then
  return known
end
local olds, full, most = {}, {}, tonumber(ARGV[7])
for i, c in ipairs(cells) do
  local place = c[3] .. ':' .. c[2]
  local old = olds[place] or redis.call('HGET', KEYS[2] .. c[1] .. ':' .. c[2], c[3])
  local q, r, k = '0', '0', '0'
  if old then q, r, k = old:match('^(%S+) (%S+) (%S+)') end
  olds[place] = old
  if q + c[4] > most or r + c[5] > most or k + c[6] > most then full[#full + 1] = {i - 1, q, r, k} end
end
if #full > 0 then return {'full', cjson.encode(full)} end
for _, batch in ipairs(batches) do redis.call('SADD', KEYS[4] .. batch[1], unpack(batch[3])) end
-- From here a day can be counted anew.
for place in pairs(days) do redis.call('HSETNX', KEYS[5], place, ARGV[1]) end
-- A double is exact up to 2^53. Beyond it (an absurd price, but then it must be seen as it is) digits are added one by
-- one; the caller sends such amounts as strings.
local function digits(amount)
  return type(amount) == 'string' and amount or string.format('%.0f', amount)
end
local function add(a, b)
  local sum = a + b
  if sum < 9007199254740992 then return string.format('%.0f', sum) end
  local x, y, found, carry = digits(a), digits(b), {}, 0
  for i = 1, math.max(#x, #y) do
    local d = (tonumber(x:sub(-i, -i)) or 0) + (tonumber(y:sub(-i, -i)) or 0) + carry
    carry = d > 9 and 1 or 0
    found[i] = d % 10
  end
  if carry == 1 then found[#found + 1] = 1 end
  return table.concat(found):reverse()
end

for _, c in ipairs(cells) do
  local market, day, unit = c[1], c[2], c[3]
  local key = KEYS[2] .. market .. ':' .. day
  local old = olds[unit .. ':' .. day]
  local q, r, k, n, e, rest = '0', '0', '0', '0', '0', '-1 0'
  if old then
    q, r, k, n, e, rest = old:match('^(%S+) (%S+) (%S+) (%S+) (%S+) (.+)$')
  end
  local new = table.concat({add(q, c[4]), add(r, c[5]), add(k, c[6]), add(n, c[7]), add(e, c[8]), rest}, ' ')
  olds[unit .. ':' .. day] = new
  redis.call('HSET', key, unit, new)
  redis.call('ZADD', KEYS[3] .. market, day, day .. '|' .. unit)
end
redis.call('SET', KEYS[1], ARGV[2])
return tonumber(ARGV[2])
