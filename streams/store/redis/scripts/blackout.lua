-- Store or remove a window; -1 where something later is known of it. KEYS: windows by end, bodies by id, places by id
-- ARGV: id, partition and offset (empty: whatever is known) [, window, end, body]
-- The body is kept behind its window, so that a changed window finds the old member to remove.
if later_is_known(KEYS[3], ARGV[1], ARGV[2], ARGV[3]) then return -1 end
local old = redis.call('HGET', KEYS[2], ARGV[1])
if old then
  redis.call('ZREM', KEYS[1], old:match('^[^\n]*'))
  redis.call('HDEL', KEYS[2], ARGV[1])
end
if ARGV[4] then
  redis.call('ZADD', KEYS[1], ARGV[5], ARGV[4])
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[4] .. '\n' .. ARGV[6])
elseif redis.call('HLEN', KEYS[3]) > 1000 then
  -- Of removed windows, only some are remembered: enough for a stale owner that resumes.
  for _, id in ipairs(redis.call('HRANDFIELD', KEYS[3], 8)) do
    if id ~= ARGV[1] and not redis.call('HGET', KEYS[2], id) then redis.call('HDEL', KEYS[3], id) end
  end
end
return 1
