-- Write an experiment back if it is of a later version, or has a longer life, than what is there.
-- KEYS: registrations, hashes, version. ARGV: name, body, design hash
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old then
  local there, back = cjson.decode(old), cjson.decode(ARGV[2])
  local newer = back.experiment.version > there.experiment.version
  local longer = back.experiment.version == there.experiment.version and #back.history > #there.history
  if not newer and not longer then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return redis.call('INCR', KEYS[3])
