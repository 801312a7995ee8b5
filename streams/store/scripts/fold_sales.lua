-- Add sales to unit-days and move the position, or do neither.
-- KEYS: position, prefix of cells, prefix of dirty. ARGV: start, end, cells (JSON)
-- A cell is 'quantity revenue cost costed events published revision'; `published` is its `events` when last published.
local stored = tonumber(redis.call('GET', KEYS[1]) or '0')
if stored ~= tonumber(ARGV[1]) then
  return stored
end
for _, c in ipairs(cjson.decode(ARGV[3])) do
  local market, day, unit = c[1], c[2], c[3]
  local key = KEYS[2] .. market .. ':' .. day
  local old = redis.call('HGET', key, unit)
  local q, r, k, n, e, p, v = 0, 0, 0, 0, 0, -1, 0
  if old then
    q, r, k, n, e, p, v = old:match('^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
  end
  redis.call('HSET', key, unit, string.format('%.0f %.0f %.0f %.0f %.0f %.0f %.0f',
    q + c[4], r + c[5], k + c[6], n + c[7], e + c[8], p, v))
  redis.call('ZADD', KEYS[3] .. market, day, day .. '|' .. unit)
end
redis.call('SET', KEYS[1], ARGV[2])
return tonumber(ARGV[2])
