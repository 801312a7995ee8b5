-- Days up to a market's last are over: they take no more sales, and what was kept of them for those is let go.
-- KEYS: sealed, firsts, prefix of cells, prefix of dirty, prefix of seen. ARGV: market -> last day (JSON)
-- A unit-day that is still to be published stays until it is. Ids are kept by day: until the last market seals it.
local last = cjson.decode(ARGV[1])
for market, day in pairs(last) do
  local old = redis.call('HGET', KEYS[1], market)
  if not old or tonumber(old) < day then redis.call('HSET', KEYS[1], market, string.format('%.0f', day)) end
end
local firsts, open, gone = redis.call('HGETALL', KEYS[2]), {}, {}
for i = 1, #firsts, 2 do
  local market, day = firsts[i]:match('^(.*):(%d+)$')
  local over = last[market] and tonumber(day) <= last[market]
  if over and redis.call('ZCOUNT', KEYS[4] .. market, day, day) == 0 then
    redis.call('UNLINK', KEYS[3] .. market .. ':' .. day)
    redis.call('HDEL', KEYS[2], firsts[i])
    gone[day] = true
  else
    open[day] = true
  end
end
for day in pairs(gone) do
  if not open[day] then redis.call('UNLINK', KEYS[5] .. day) end
end
return 1
