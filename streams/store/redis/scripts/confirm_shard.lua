-- Is this shard what its owner knows of it? Then note how much of the log it holds.
-- KEYS: epoch, sequence, tick, log. ARGV: epoch, sequence and tick of which the owner knows, [place, offset, ...]
local sequence = tonumber(redis.call('GET', KEYS[2]) or '0')
local tick = tonumber(redis.call('GET', KEYS[3]) or '0')
if sequence < tonumber(ARGV[2]) or tick < tonumber(ARGV[3]) then
  return redis.error_reply('BEHIND')
end
if ARGV[4] then
  redis.call('HSET', KEYS[4], unpack(ARGV, 4))
elseif redis.call('EXISTS', KEYS[4]) == 0 then
  return redis.error_reply('BEHIND')
end
return 1
