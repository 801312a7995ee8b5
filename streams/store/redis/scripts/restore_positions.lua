-- Write back what is further on than what is there. KEYS: epoch, plans, closed, sequence, tick
-- ARGV: epoch, plans (JSON: key -> [day or -1, released]), closed (JSON: market -> [day, times]), sequence, tick
for key, plan in pairs(cjson.decode(ARGV[2])) do
  local day, released = (redis.call('HGET', KEYS[2], key) or ''):match('^(%S+) (%d)$')
  local old = tonumber(day or '') or -1
  if not day or old < plan[1] or (old == plan[1] and released == '0' and plan[2] == 1) then
    redis.call('HSET', KEYS[2], key, (plan[1] < 0 and '-' or string.format('%.0f', plan[1])) .. ' ' .. plan[2])
  end
end
for market, new in pairs(cjson.decode(ARGV[3])) do
  local day, times = (redis.call('HGET', KEYS[3], market) or ''):match('^(%d+) (%d+)$')
  if not day or tonumber(day) < new[1] or tonumber(times) < new[2] then
    redis.call('HSET', KEYS[3], market,
      string.format('%.0f %.0f', math.max(tonumber(day or '0'), new[1]), math.max(tonumber(times or '0'), new[2])))
  end
end
for place = 4, 5 do
  if tonumber(redis.call('GET', KEYS[place]) or '0') < tonumber(ARGV[place]) then
    redis.call('SET', KEYS[place], ARGV[place])
  end
end
return 1
