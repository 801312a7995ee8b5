-- Totals of unit-days and the position that they stand at, as of one instant.
-- KEYS: position, prefix of cells. ARGV: unit-days (JSON: [[market:day, [unit, ...]], ...])
local found = {}
for _, day in ipairs(cjson.decode(ARGV[1])) do
  -- `unpack` takes a few thousand values at most.
  for first = 1, #day[2], 4000 do
    local units = {unpack(day[2], first, math.min(first + 3999, #day[2]))}
    for _, text in ipairs(redis.call('HMGET', KEYS[2] .. day[1], unpack(units))) do found[#found + 1] = text end
  end
end
return {redis.call('GET', KEYS[1]) or '0', found}
