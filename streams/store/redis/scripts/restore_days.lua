-- Write unit-days of an input that is rebuilt. KEYS: token, prefix of cells, prefix of dirty
-- ARGV: token, days (JSON: [market, day, unit, text of the cell, is it still to be published])
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('TAKEN')
end
for _, d in ipairs(cjson.decode(ARGV[2])) do
  redis.call('HSET', KEYS[2] .. d[1] .. ':' .. d[2], d[3], d[4])
  if d[5] then redis.call('ZADD', KEYS[3] .. d[1], d[2], d[2] .. '|' .. d[3]) end
end
return 1
