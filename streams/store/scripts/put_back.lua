-- Grants that did not go out before they took effect become control. KEYS: units, outbox. ARGV: entry, units (JSON), detail
-- The entry comes back at the end of the outbox under another id; one that is not there any more has been put back, or
-- published, before.
local entry = redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1])[1]
if not entry then return 0 end
local fields, late = {}, {}
for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
local control, granted = cjson.decode(fields.h).arms[1], cjson.decode(fields.g)
for _, unit in ipairs(cjson.decode(ARGV[2])) do late[unit] = true end
for _, row in ipairs(granted) do
  if late[row[1]] then
    row[3], row[5], row[7], row[8] = control, false, 'late', ARGV[3]
    local held = redis.call('HGET', KEYS[1], row[1])
    local state = held and cjson.decode(held)
    -- Nothing of what was decided later changes.
    if state and state[8] == row[9] then
      state[3], state[4], state[7] = control, true, false
      redis.call('HSET', KEYS[1], row[1], cjson.encode(state))
    end
  end
end
redis.call('XADD', KEYS[2], '*', 'e', fields.e, 'h', fields.h, 'g', cjson.encode(granted))
redis.call('XDEL', KEYS[2], ARGV[1])
return 1
