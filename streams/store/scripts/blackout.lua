-- Store or remove a window. KEYS: windows by end, bodies by id. ARGV: id [, window, end, body]
-- The body is kept behind its window, so that a changed window finds the old member to remove.
local old = redis.call('HGET', KEYS[2], ARGV[1])
if old then
  redis.call('ZREM', KEYS[1], old:match('^[^\n]*'))
  redis.call('HDEL', KEYS[2], ARGV[1])
end
if ARGV[2] then
  redis.call('ZADD', KEYS[1], ARGV[3], ARGV[2])
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2] .. '\n' .. ARGV[4])
end
return 1
