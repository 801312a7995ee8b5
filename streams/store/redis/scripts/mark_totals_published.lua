-- Totals were published. KEYS: prefix of cells, prefix of dirty.
-- ARGV: cells (JSON: [market, day, unit, events, revision, late]), as they were published
-- A cell that has grown since then stays dirty; either way it has been published once more. A total only grows, so an
-- older word about it that comes late is one that was heard before.
for _, c in ipairs(cjson.decode(ARGV[1])) do
  local market, day, unit, published, revision, late = c[1], c[2], c[3], c[4], c[5], c[6]
  local key = KEYS[1] .. market .. ':' .. day
  local old = redis.call('HGET', key, unit)
  if old then
    local q, r, k, n, e, p, v = old:match('^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)')
    if tonumber(p) < published then
      redis.call('HSET', key, unit, table.concat({q, r, k, n, e, string.format('%.0f', published),
        string.format('%.0f', math.max(tonumber(v), revision) + 1), late > 0 and string.format('%.0f', late) or nil}, ' '))
    end
    if tonumber(e) == published then
      redis.call('ZREM', KEYS[2] .. market, day .. '|' .. unit)
    end
  end
end
return 1
