-- What the log must say ahead of anything that comes after it. KEYS: epoch, outbox. ARGV: epoch, records (JSON)
redis.call('XADD', KEYS[2], '*', 'e', string.format('%.0f', mine), 'r', ARGV[2])
return 1
