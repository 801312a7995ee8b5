-- Grants that did not go out before they took effect become control. KEYS: epoch, units, outbox, sequence
-- ARGV: epoch, entry, units (JSON), detail
-- What becomes control is decided again, by this owner and with a version of its own: an earlier owner that resumes may
-- still publish the arm. The rest of the entry comes back at the end of the outbox as it was, under another
-- id. An entry that is not there any more has been put back, or published, before. Returns the sequence.
local sequence = tonumber(redis.call('GET', KEYS[4]) or '0')
local entry = redis.call('XRANGE', KEYS[3], ARGV[2], ARGV[2])[1]
if not entry then return sequence end
local fields, units = {}, {}
for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
for _, unit in ipairs(cjson.decode(ARGV[3])) do units[unit] = true end
local control, late, rest = cjson.decode(fields.h).arms[1], {}, {}
for _, row in ipairs(cjson.decode(fields.g)) do
  local into = rest
  if units[row[GRANT_UNIT]] then
    row[GRANT_ARM], row[GRANT_PRICE], row[GRANT_CODE], row[GRANT_DETAIL] = control, false, 'late', ARGV[4]
    local text = redis.call('HGET', KEYS[2], row[GRANT_UNIT])
    local state = text and cjson.decode(text)
    -- Nothing of what was decided later changes, nor may this be newer than that.
    if state and state[HELD_SEQUENCE] == row[GRANT_SEQUENCE] then
      sequence = sequence + 1
      row[GRANT_SEQUENCE] = sequence
      state[HELD_ARM], state[HELD_ON_CONTROL], state[HELD_PRICE] = control, true, false
      state[HELD_SEQUENCE], state[HELD_EPOCH] = sequence, mine
      redis.call('HSET', KEYS[2], row[GRANT_UNIT], cjson.encode(state))
      into = late
    end
  end
  into[#into + 1] = row
end
if #rest > 0 then
  redis.call('XADD', KEYS[3], '*', 'again', '1', 'e', fields.e, 'h', fields.h, 'g', cjson.encode(rest))
end
if #late > 0 then
  redis.call('SET', KEYS[4], string.format('%.0f', sequence))
  redis.call('XADD', KEYS[3], '*', 'e', string.format('%.0f', mine), 'h', fields.h, 'g', cjson.encode(late))
end
redis.call('XDEL', KEYS[3], ARGV[2])
return sequence
