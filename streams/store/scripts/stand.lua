-- Is this shard what its owner knows of it? Then note how much of the log it holds.
-- KEYS: epoch, sequence, tick, log. ARGV: epoch, sequence and tick of which the owner knows, run of the server that it
-- knows ('' for none), [place, offset, ...]
-- Returns the run of the server: one that was started anew may have come back older, whatever its numbers say.
local held = tonumber(redis.call('GET', KEYS[1]) or '-1')
if held ~= tonumber(ARGV[1]) then
  return redis.error_reply('FENCED ' .. held)
end
local run = redis.call('INFO', 'server'):match('run_id:(%x+)') or 'unknown'
local sequence = tonumber(redis.call('GET', KEYS[2]) or '0')
local tick = tonumber(redis.call('GET', KEYS[3]) or '0')
local anew = ARGV[4] ~= '' and ARGV[4] ~= run
if anew or sequence < tonumber(ARGV[2]) or tick < tonumber(ARGV[3]) then
  return redis.error_reply('BEHIND')
end
if ARGV[5] then
  redis.call('HSET', KEYS[4], unpack(ARGV, 5))
elseif redis.call('EXISTS', KEYS[4]) == 0 then
  return redis.error_reply('BEHIND')
end
return run
