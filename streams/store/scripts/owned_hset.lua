-- Write fields of a shard's hash while its owner. KEYS: epoch, hash. ARGV: epoch, field, value, ...
local held = tonumber(redis.call('GET', KEYS[1]) or '-1')
if held ~= tonumber(ARGV[1]) then
  return redis.error_reply('FENCED ' .. held)
end
if #ARGV > 1 then
  redis.call('HSET', KEYS[2], unpack(ARGV, 2))
end
return 1
