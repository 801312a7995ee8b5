-- Store the latest word on a kill switch; -1 where a later one is known. The counter moves only when something changed.
-- KEYS: switches, version of the registrations, places by id. ARGV: id, body, partition and offset (empty: none)
if later_is_known(KEYS[3], ARGV[1], ARGV[3], ARGV[4]) then return -1 end
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return redis.call('INCR', KEYS[2])
