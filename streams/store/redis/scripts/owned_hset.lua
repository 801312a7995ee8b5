-- Write fields of a shard's hash while its owner. KEYS: epoch, hash. ARGV: epoch, field, value, ...
-- `unpack` takes a few thousand values at most.
for first = 2, #ARGV, 4000 do
  redis.call('HSET', KEYS[2], unpack(ARGV, first, math.min(first + 3999, #ARGV)))
end
return 1
