-- What the log must say ahead of anything that comes after it. KEYS: epoch, outbox. ARGV: epoch, records (JSON)
local held = tonumber(redis.call('GET', KEYS[1]) or '-1')
if held ~= tonumber(ARGV[1]) then
  return redis.error_reply('FENCED ' .. held)
end
redis.call('XADD', KEYS[2], '*', 'e', ARGV[1], 'r', ARGV[2])
return 1
