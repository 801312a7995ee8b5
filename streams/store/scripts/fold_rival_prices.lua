-- Keep the latest price of each rival and move the position, or do neither.
-- KEYS: position, prefix of latest. ARGV: start, end, prices (JSON: [unit, competitor, observed, price or null])
local stored = tonumber(redis.call('GET', KEYS[1]) or '0')
if stored ~= tonumber(ARGV[1]) then
  return stored
end
for _, c in ipairs(cjson.decode(ARGV[3])) do
  local old = redis.call('HGET', KEYS[2] .. c[1], c[2])
  if not old or c[3] >= tonumber(old:match('^(%S+) ')) then
    local price = c[4] == cjson.null and '-' or string.format('%.0f', c[4])
    redis.call('HSET', KEYS[2] .. c[1], c[2], string.format('%.0f %s', c[3], price))
  end
end
redis.call('SET', KEYS[1], ARGV[2])
return tonumber(ARGV[2])
