-- Take a shard over. KEYS: epoch, tick, sequence. ARGV: epoch, run of the server in which it was claimed with it before
-- ('' for none). Returns tick and sequence, and the run of the server.
-- An epoch is the offset of an ownership record: the log gave it, so it grows even when this server lost its memory.
local held = tonumber(redis.call('GET', KEYS[1]) or '-1')
local mine = tonumber(ARGV[1])
if held > mine then
  return redis.error_reply('FENCED ' .. held)
end
local run = redis.call('INFO', 'server'):match('run_id:(%x+)') or ''
if ARGV[2] ~= '' and ARGV[2] ~= run then
  return redis.error_reply('BEHIND STARTED ANEW')
end
redis.call('SET', KEYS[1], ARGV[1])
-- What is damaged there is mended by who claims, and has nothing to be held against.
local said = redis.pcall('GET', KEYS[3])
local sequence = type(said) == 'string' and tonumber(said) or 0
return {tonumber(redis.call('GET', KEYS[2]) or '0'), sequence, run}
