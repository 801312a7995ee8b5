-- Days up to a market's last take no more sales; what is kept of them stays. KEYS: sealed. ARGV: market -> last day (JSON)
for market, day in pairs(cjson.decode(ARGV[1])) do
  local old = redis.call('HGET', KEYS[1], market)
  if not old or tonumber(old) < day then redis.call('HSET', KEYS[1], market, string.format('%.0f', day)) end
end
return 1
