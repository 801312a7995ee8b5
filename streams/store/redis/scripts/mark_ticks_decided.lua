-- Ticks before an offset are decided. KEYS: epoch, tick, plans, outbox, sequence
-- ARGV: epoch, tick, records (JSON or ''), least sequence, plan pairs...
if tonumber(redis.call('GET', KEYS[5]) or '0') < tonumber(ARGV[4]) then
  return redis.error_reply('BEHIND')
end
if tonumber(redis.call('GET', KEYS[2]) or '0') >= tonumber(ARGV[2]) then
  return 0
end
-- `unpack` takes a few thousand values at most.
for first = 5, #ARGV, 4000 do
  redis.call('HSET', KEYS[3], unpack(ARGV, first, math.min(first + 3999, #ARGV)))
end
if ARGV[3] ~= '' then
  redis.call('XADD', KEYS[4], '*', 'e', string.format('%.0f', mine), 'r', ARGV[3])
end
redis.call('SET', KEYS[2], ARGV[2])
return 1
