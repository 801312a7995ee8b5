-- Add sales to unit-days and move the position, or do neither.
-- KEYS: position, prefix of cells, prefix of dirty. ARGV: start, end, cells (JSON)
-- A cell is 'quantity revenue cost costed events published revision'; `published` is its `events` when last published.
local stored = tonumber(redis.call('GET', KEYS[1]) or '0')
if stored ~= tonumber(ARGV[1]) then
  return stored
end
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

for _, c in ipairs(cjson.decode(ARGV[3])) do
  local market, day, unit = c[1], c[2], c[3]
  local key = KEYS[2] .. market .. ':' .. day
  local old = redis.call('HGET', key, unit)
  local q, r, k, n, e, p, v = '0', '0', '0', '0', '0', '-1', '0'
  if old then
    q, r, k, n, e, p, v = old:match('^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
  end
  redis.call('HSET', key, unit, table.concat(
    {add(q, c[4]), add(r, c[5]), add(k, c[6]), add(n, c[7]), add(e, c[8]), p, v}, ' '))
  redis.call('ZADD', KEYS[3] .. market, day, day .. '|' .. unit)
end
redis.call('SET', KEYS[1], ARGV[2])
return tonumber(ARGV[2])
