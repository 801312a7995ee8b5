-- An input is rebuilt: from now on it stands at a position, and its count is known by the token.
-- KEYS: token, position, firsts, sealed, count
-- ARGV: token, position, firsts (JSON: market:day -> offset), sealed (JSON: market -> day)
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('TAKEN')
end
for place, offset in pairs(cjson.decode(ARGV[3])) do redis.call('HSET', KEYS[3], place, string.format('%.0f', offset)) end
for market, day in pairs(cjson.decode(ARGV[4])) do
  -- What was shut meanwhile stays so.
  local old = redis.call('HGET', KEYS[4], market)
  if not old or tonumber(old) < day then redis.call('HSET', KEYS[4], market, string.format('%.0f', day)) end
end
redis.call('SET', KEYS[5], ARGV[1])
redis.call('SET', KEYS[2], ARGV[2])
redis.call('DEL', KEYS[1])
return 1
