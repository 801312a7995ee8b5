-- Store the latest word on a kill switch; the counter moves only when something changed.
-- KEYS: switches, version of the registrations. ARGV: id, body
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return redis.call('INCR', KEYS[2])
