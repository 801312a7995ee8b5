-- Mark a partition as folded up to an instant, if the store is still at the caller's position. KEYS: position, caught-up
-- ARGV: position, instant (ms)
if tonumber(redis.call('GET', KEYS[1]) or '0') ~= tonumber(ARGV[1]) then
  return 0
end
redis.call('SET', KEYS[2], ARGV[2])
return 1
