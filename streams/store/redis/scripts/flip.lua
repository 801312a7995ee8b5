-- One atomic decision for a batch of units that share a market, an experiment and an instant.
-- KEYS: epoch, units, blackouts, outbox, sequence, hashes, prices
-- ARGV: epoch, header (JSON), rows (JSON, see layout.lua), milliseconds that prices are remembered for (0: not at all),
--       least sequence: a store that has less of what its owner knows has come back older
-- Checks, in this order: fence, definition, repetition, exclusivity, blackout. Then: state, prices, outbox.
local sequence = tonumber(redis.call('GET', KEYS[5]) or '0')
if sequence < tonumber(ARGV[5]) then
  return redis.error_reply('BEHIND')
end
local h = cjson.decode(ARGV[2])
local rows = cjson.decode(ARGV[3])
local remember = tonumber(ARGV[4])
local withheld = {}
if redis.call('HGET', KEYS[6], h.experiment) ~= h.design_hash then
  for i, row in ipairs(rows) do withheld[i] = row[ROW_UNIT] end
  return cjson.encode({0, 0, 0, 0, sequence, withheld})
end

-- Windows that hold the flip's instant, by what they cover: of several, the one that ends last binds (ties: greater id).
-- The sorted set gives them in that order: by score, the end, and then byte by byte, where the end is followed by the id
-- (encoding.window). Comparing ids here would follow the locale of the server. No window binds an urgent release.
local windows = {}
if not (h.urgent and h.release) then
  for rank, raw in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], string.format('(%.0f', h.effective), '+inf')) do
    local w = cjson.decode(raw)
    if w.starts <= h.effective then
      windows[w.kind .. ':' .. w.name] = {rank = rank, id = w.id}
    end
  end
end
local any_window = next(windows) ~= nil
local function binding(unit, cluster)
  local best = nil
  for _, scope in ipairs({'global:', 'market:' .. h.market, 'cluster:' .. cluster, 'unit:' .. unit}) do
    local w = windows[scope]
    if w and (not best or w.rank > best.rank) then best = w end
  end
  return best
end

local names = {}
for i, row in ipairs(rows) do names[i] = row[ROW_UNIT] end
local states = redis.call('HMGET', KEYS[2], unpack(names))
local prices = remember > 0 and redis.call('HMGET', KEYS[7], unpack(names)) or {}
local control = h.arms[1]
local flips, blocked, kept, repeated = 0, 0, 0, 0
local writes, granted, recalled = {}, {}, {}

-- The changes of a unit's price, 'ms:price ms:price', with this grant: what it replaces is gone, a lease that ran out
-- before it was a change back to control, and of what is too long ago only the price in force is kept.
local function recall(text, prev, price, base)
  local found, last = {}, base
  for at, was in (text or ''):gmatch('(%d+):(%d+)') do
    if tonumber(at) < h.effective then
      found[#found + 1] = {tonumber(at), tonumber(was)}
      last = tonumber(was)
    end
  end
  local expires = prev and prev[HELD_EXPIRES] or 0
  if expires ~= 0 and not prev[HELD_ON_CONTROL] and expires < h.effective and last ~= base then
    found[#found + 1] = {expires, base}
    last = base
  end
  if price ~= last then found[#found + 1] = {h.effective, price} end
  local first, spelled = 1, {}
  while found[first + 1] and found[first + 1][1] <= h.effective - remember do first = first + 1 end
  for k = first, #found do spelled[#spelled + 1] = string.format('%.0f:%.0f', found[k][1], found[k][2]) end
  return table.concat(spelled, ' ')
end

-- The same as in `streams.store.memory.store`: `_done`.
local function is_done(prev, same)
  if not h.urgent then return same and prev[HELD_DAY] >= h.day end
  if not h.release then return same and prev[HELD_EFFECTIVE] >= h.effective end
  -- Nobody was promised anything but control, from now or from earlier on.
  if not prev then return true end
  return same and prev[HELD_ON_CONTROL] and prev[HELD_EXPIRES] == 0 and prev[HELD_EFFECTIVE] <= h.effective
end

-- Another experiment holds the unit, or has held it later (or has taken it over from the one that is released).
local function is_another_ones(prev, frozen)
  return h.release or prev[HELD_EFFECTIVE] > h.effective or prev[HELD_EXPIRES] > h.effective
    or (frozen and not prev[HELD_ON_CONTROL])
end

for i, row in ipairs(rows) do
  local unit, cluster, asked = row[ROW_UNIT], row[ROW_CLUSTER], h.arms[row[ROW_ARM] + 1]
  local planned = h.arms[(row[ROW_PLANNED] or row[ROW_ARM]) + 1]
  local prev = states[i] and cjson.decode(states[i]) or nil
  local same = prev and prev[HELD_OWNER] == h.owner
  -- The arm that holds up to the flip's instant: a lease that ended earlier left the unit on control.
  local unbroken = prev and (prev[HELD_EXPIRES] == 0 or prev[HELD_EXPIRES] >= h.effective)
  local window = any_window and binding(unit, cluster) or nil
  if is_done(prev, same) then
    repeated = repeated + 1
    if prev and prev[HELD_ARM] ~= asked then kept = kept + 1 end
  elseif prev and not same and is_another_ones(prev, window and unbroken) then
    if not h.release or (h.urgent and prev[HELD_EFFECTIVE] > h.effective) then withheld[#withheld + 1] = unit end
  else
    local standing = (same and unbroken) and prev[HELD_ARM] or control
    local arm, expires, code, detail = asked, h.expires, h.code, row[ROW_DETAIL] or ''
    if row[ROW_CODE] and row[ROW_CODE] ~= '' then code = row[ROW_CODE] end
    local price = row[ROW_PRICES][row[ROW_ARM] + 1]
    if window then
      arm, code, detail = standing, 'blackout', window.id
      if arm ~= asked or not h.release then expires = h.keep_until end
      if same and unbroken then price = prev[HELD_PRICE] else price = row[ROW_PRICES][1] end
      if arm ~= asked then blocked = blocked + 1 end
    elseif arm ~= standing then
      flips = flips + 1
    end
    if arm ~= asked then kept = kept + 1 end
    if price == cjson.null then price = false end
    sequence = sequence + 1
    writes[#writes + 1] = unit
    -- What was decided for a later day stays decided, though an urgent flip has replaced it.
    writes[#writes + 1] = cjson.encode({h.owner, same and math.max(prev[HELD_DAY], h.day) or h.day, arm, arm == control,
      h.effective, expires, price, sequence, mine})
    granted[#granted + 1] = {unit, cluster, arm, planned, price, expires, code, detail, sequence}
    if remember > 0 and price and row[ROW_PRICES][1] ~= cjson.null then
      recalled[#recalled + 1] = unit
      recalled[#recalled + 1] = recall(prices[i], prev, price, row[ROW_PRICES][1])
    end
  end
end

if #granted > 0 then
  redis.call('HSET', KEYS[2], unpack(writes))
  if #recalled > 0 then redis.call('HSET', KEYS[7], unpack(recalled)) end
  redis.call('SET', KEYS[5], string.format('%.0f', sequence))
  redis.call('XADD', KEYS[4], '*', 'e', string.format('%.0f', mine), 'h', ARGV[2], 'g', cjson.encode(granted))
end
if #withheld == 0 then withheld = nil end
return cjson.encode({flips, blocked, kept, repeated, sequence, withheld})
