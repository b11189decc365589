-- Gives tokens back that nobody used.
-- KEYS: when the bucket is full, and the last token. ARGV: in how many microseconds a token comes; how many there are to
-- give.
local known, last = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+)')
if not known then return end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local after = math.max(known - ARGV[1] * ARGV[2], now)
local left = math.max(redis.call('PTTL', KEYS[1]), 1)
redis.call('SET', KEYS[1], string.format('%.0f %s', after, last), 'PX', left)
