-- One atomic decision for a batch of units that share a market, an experiment and an instant.
-- KEYS: epoch, units, blackouts, outbox, sequence, hashes
-- ARGV: epoch, header (JSON), rows (JSON: [unit, cluster, arm index from 0, [price of each arm or null]])
-- Checks, in this order: fence, definition, repetition, exclusivity, blackout. Then: state, outbox.
local mine = tonumber(ARGV[1])
local held = tonumber(redis.call('GET', KEYS[1]) or '-1')
if held ~= mine then
  return redis.error_reply('FENCED ' .. held)
end
local h = cjson.decode(ARGV[2])
local rows = cjson.decode(ARGV[3])
local withheld = {}
if redis.call('HGET', KEYS[6], h.experiment) ~= h.design_hash then
  for i, row in ipairs(rows) do withheld[i] = row[1] end
  return cjson.encode({0, 0, 0, 0, withheld})
end

-- Windows that hold the flip's instant, by what they cover: of several, the one that ends last binds (ties: greater id).
-- The sorted set gives them in that order: by score, the end, and then byte by byte, where the end is followed by the id
-- (encoding.window). Comparing ids here would follow the locale of the server.
local windows = {}
for rank, raw in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], string.format('(%.0f', h.effective), '+inf')) do
  local w = cjson.decode(raw)
  if w.starts <= h.effective then
    windows[w.kind .. ':' .. w.name] = {rank = rank, id = w.id}
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
for i, row in ipairs(rows) do names[i] = row[1] end
local states = redis.call('HMGET', KEYS[2], unpack(names))
local control = h.arms[1]
local sequence = tonumber(redis.call('GET', KEYS[5]) or '0')
local flips, blocked, kept, repeated = 0, 0, 0, 0
local writes, granted = {}, {}

for i, row in ipairs(rows) do
  local unit, cluster, planned = row[1], row[2], h.arms[row[3] + 1]
  -- state: experiment.version, day, arm, is it control, effective, expires (0: never), price or false, sequence, epoch
  local prev = states[i] and cjson.decode(states[i]) or nil
  local same = prev and prev[1] == h.owner
  -- The arm that holds up to the flip's instant: a lease that ended earlier left the unit on control.
  local unbroken = prev and (prev[6] == 0 or prev[6] >= h.effective)
  local window = any_window and binding(unit, cluster) or nil
  if same and prev[2] >= h.day then
    repeated = repeated + 1
    if prev[3] ~= planned then kept = kept + 1 end
  elseif prev and not same
    and (h.release or prev[5] > h.effective or prev[6] > h.effective or (window and unbroken and not prev[4])) then
    -- Another experiment holds the unit, or has held it later (or has taken it over from the one that is released).
    if not h.release then withheld[#withheld + 1] = unit end
  else
    local standing = (same and unbroken) and prev[3] or control
    local arm, expires, code, detail = planned, h.expires, h.code, ''
    local price = row[4][row[3] + 1]
    if window then
      arm, code, detail = standing, 'blackout', window.id
      if arm ~= planned or not h.release then expires = h.keep_until end
      if same and unbroken then price = prev[7] else price = row[4][1] end
      if arm ~= planned then blocked = blocked + 1 end
    elseif arm ~= standing then
      flips = flips + 1
    end
    if arm ~= planned then kept = kept + 1 end
    if price == cjson.null then price = false end
    sequence = sequence + 1
    writes[#writes + 1] = unit
    writes[#writes + 1] =
      cjson.encode({h.owner, h.day, arm, arm == control, h.effective, expires, price, sequence, mine})
    granted[#granted + 1] = {unit, cluster, arm, planned, price, expires, code, detail, sequence}
  end
end

if #granted > 0 then
  redis.call('HSET', KEYS[2], unpack(writes))
  redis.call('SET', KEYS[5], string.format('%.0f', sequence))
  redis.call('XADD', KEYS[4], '*', 'e', ARGV[1], 'h', ARGV[2], 'g', cjson.encode(granted))
end
if #withheld == 0 then withheld = nil end
return cjson.encode({flips, blocked, kept, repeated, withheld})
