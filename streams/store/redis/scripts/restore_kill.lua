-- Write the word on a kill switch back if it was requested later than what is there.
-- KEYS: switches, version of the registrations. ARGV: id, body
-- Instants are in UTC, and without their Z in the order of their texts: a second is a prefix of its fractions.
local function requested(body) return (cjson.decode(body).requested_at:gsub('Z$', '')) end
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old and requested(old) >= requested(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return redis.call('INCR', KEYS[2])
