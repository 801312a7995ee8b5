-- Stands before every script that only the owner of a shard may run. KEYS[1]: epoch. ARGV[1]: the epoch that it holds
-- and, after a space, the run of the server in which it has claimed it.
-- A server that was started anew may have come back older, from before somebody else's claim: its epoch says nothing.
local mine, claimed_in = ARGV[1]:match('^(%d+) ?(%x*)$')
mine = tonumber(mine)
local held = tonumber(redis.call('GET', KEYS[1]) or '-1')
if held ~= mine then
  return redis.error_reply('FENCED ' .. held)
end
if claimed_in ~= '' and claimed_in ~= redis.call('INFO', 'server'):match('run_id:(%x+)') then
  return redis.error_reply('BEHIND STARTED ANEW')
end
