-- Gives tokens back that nobody used.
-- KEYS: when the bucket is full. ARGV: in how many microseconds a token comes; how many there are to give.
local full = tonumber(redis.call('GET', KEYS[1]) or 0)
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local after = full - ARGV[1] * ARGV[2]
if full == 0 or after <= now then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000) + 1000)
return 1
