-- Keep the latest price of each rival, what rules remember of them and what fired; and move the position. Or do nothing.
-- KEYS: position, prefix of latest, prefix of watches, outbox. ARGV: start, end,
--       prices (JSON: [unit, competitor, observed, price or null]), histories (JSON: [watch, field, text]),
--       what fired (JSON: [type, body], or '')
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
-- No rule looks back farther than 90 days: what nobody has added to for longer belongs to an experiment that is over.
local watched = {}
for _, move in ipairs(cjson.decode(ARGV[4])) do
  redis.call('HSET', KEYS[3] .. move[1], move[2], move[3])
  watched[move[1]] = true
end
for watch in pairs(watched) do
  redis.call('EXPIRE', KEYS[3] .. watch, 8640000)
end
if ARGV[5] ~= '' then
  redis.call('XADD', KEYS[4], '*', 'e', '0', 'r', ARGV[5])
end
redis.call('SET', KEYS[1], ARGV[2])
return tonumber(ARGV[2])
