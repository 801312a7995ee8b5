-- How far a shard has got, if it owes the log nothing. KEYS: epoch, sequence, tick, outbox. ARGV: epoch
-- Returns sequence, tick and the last entry that the outbox ever had; nothing while it has one.
if redis.call('XLEN', KEYS[4]) > 0 then return false end
local last = ''
if redis.call('EXISTS', KEYS[4]) == 1 then
  local told = redis.call('XINFO', 'STREAM', KEYS[4])
  for i = 1, #told, 2 do
    if told[i] == 'last-generated-id' then last = told[i + 1] end
  end
end
return {redis.call('GET', KEYS[2]) or '0', redis.call('GET', KEYS[3]) or '0', last}
