-- Write or remove fields of a shard's hash while its owner. KEYS: epoch, hash. ARGV: epoch, field, value or empty, ...
for at = 2, #ARGV, 2 do
  if ARGV[at + 1] == '' then
    redis.call('HDEL', KEYS[2], ARGV[at])
  else
    redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
  end
end
return 1
