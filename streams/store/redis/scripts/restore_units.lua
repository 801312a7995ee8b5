-- Write grants back that are newer than what is there. KEYS: epoch, units
-- ARGV: epoch, [unit, state, 1 if it went from one experiment to another since it may have been written here, ...]
local written = 0
for i = 2, #ARGV, 3 do
  local old, new = redis.call('HGET', KEYS[2], ARGV[i]), cjson.decode(ARGV[i + 1])
  local prev = old and cjson.decode(old)
  local same_epoch = prev and prev[HELD_EPOCH] == new[HELD_EPOCH]
  if not prev or prev[HELD_EPOCH] < new[HELD_EPOCH] or (same_epoch and prev[HELD_SEQUENCE] < new[HELD_SEQUENCE]) then
    -- What was decided for a later day stays decided.
    if prev and prev[HELD_OWNER] == new[HELD_OWNER] and ARGV[i + 2] == '0' then
      new[HELD_DAY] = math.max(new[HELD_DAY], prev[HELD_DAY])
    end
    redis.call('HSET', KEYS[2], ARGV[i], cjson.encode(new))
    written = written + 1
  end
end
return written
