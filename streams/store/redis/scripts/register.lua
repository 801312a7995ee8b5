-- Store an experiment, unless one of a later version, or with a longer lifecycle, is there: then this writer was paused.
-- The counter moves only when something changed. KEYS: registrations, hashes, version.
-- ARGV: name, body, design hash, 1 where it must be later than what is there
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old == ARGV[2] then
  return 0
end
if old then
  local there, new = cjson.decode(old), cjson.decode(ARGV[2])
  local ahead = new.experiment.version - there.experiment.version
  if ahead == 0 then ahead = #new.history - #there.history end
  if ahead < 0 or (ahead == 0 and ARGV[4] == '1') then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return redis.call('INCR', KEYS[3])
