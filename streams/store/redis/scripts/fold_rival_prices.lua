-- Keep what rules remember of rivals, and move the position. Or do nothing.
-- KEYS: position, prefix of watches. ARGV: start, end, histories (JSON: [watch, field, text])
local stored = tonumber(redis.call('GET', KEYS[1]) or '0')
if stored ~= tonumber(ARGV[1]) then
  return stored
end
-- No rule looks back farther than 90 days: what nobody has added to for longer belongs to an experiment that is over.
local watched = {}
for _, move in ipairs(cjson.decode(ARGV[3])) do
  redis.call('HSET', KEYS[2] .. move[1], move[2], move[3])
  watched[move[1]] = true
end
for watch in pairs(watched) do
  redis.call('EXPIRE', KEYS[2] .. watch, 8640000)
end
redis.call('SET', KEYS[1], ARGV[2])
return tonumber(ARGV[2])
