-- Whether something later than this was said: of one partition of its topic the greater offset is later.
-- What is taken is remembered, as partition:offset, though it be a removal.
local function later_is_known(places, id, partition, offset)
  if partition == '' then return false end
  local known = redis.call('HGET', places, id)
  local its, at = (known or ''):match('^(%d+):(%d+)$')
  if its == partition and tonumber(at) > tonumber(offset) then return true end
  redis.call('HSET', places, id, partition .. ':' .. offset)
  return false
end
