-- Write grants back that are newer than what is there. KEYS: epoch, units
-- ARGV: epoch, [unit, state, 1 if it went from one experiment to another since it may have been written here, ...]
-- A state is as flip.lua writes it: owner, day, arm, is it control, effective, expires, price, sequence, epoch.
local written = 0
for i = 2, #ARGV, 3 do
  local old, new = redis.call('HGET', KEYS[2], ARGV[i]), cjson.decode(ARGV[i + 1])
  local prev = old and cjson.decode(old)
  if not prev or prev[9] < new[9] or (prev[9] == new[9] and prev[8] < new[8]) then
    -- What was decided for a later day stays decided.
    if prev and prev[1] == new[1] and ARGV[i + 2] == '0' and prev[2] > new[2] then new[2] = prev[2] end
    redis.call('HSET', KEYS[2], ARGV[i], cjson.encode(new))
    written = written + 1
  end
end
return written
