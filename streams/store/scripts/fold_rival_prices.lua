-- Keep the latest price of each rival and move the position, or do neither.
-- KEYS: position, latest. ARGV: start, end, prices (JSON: [unit, competitor, observed, price or null])
local stored = tonumber(redis.call('GET', KEYS[1]) or '0')
if stored ~= tonumber(ARGV[1]) then
  return stored
end
for _, c in ipairs(cjson.decode(ARGV[3])) do
  local field = c[1] .. '|' .. c[2]
  local old = redis.call('HGET', KEYS[2], field)
  local seen = old and tonumber(old:match('^(%S+) ')) or -1
  if c[3] >= seen then
    local price = c[4] == cjson.null and '-' or string.format('%.0f', c[4])
    redis.call('HSET', KEYS[2], field, string.format('%.0f %s', c[3], price))
  end
end
redis.call('SET', KEYS[1], ARGV[2])
return tonumber(ARGV[2])
