-- Remember ids of sales while an input is rebuilt. KEYS: token, prefix of seen
-- ARGV: token, ids by day (JSON: [[day, how many], ...]), the ids one after the other, bytes of an id
-- Returns the places (from 0) of those that were remembered already.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('TAKEN')
end
local known, from, seen, size = {}, 1, 0, tonumber(ARGV[4])
for _, batch in ipairs(cjson.decode(ARGV[2])) do
  local ids = {}
  for i = 1, batch[2] do
    ids[i] = ARGV[3]:sub(from, from + size - 1)
    from = from + size
  end
  for i, there in ipairs(redis.call('SMISMEMBER', KEYS[2] .. batch[1], unpack(ids))) do
    if there == 1 then known[#known + 1] = seen + i - 1 end
  end
  redis.call('SADD', KEYS[2] .. batch[1], unpack(ids))
  seen = seen + batch[2]
end
return known
