-- Gives unused tokens back to a bucket that many sidecars share.
--
-- KEYS: 1 the bucket: see take.lua
-- ARGV: 1 microseconds between two tokens
--       2 number of tokens to give back
local full, last, owed, given = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+) ?(%d*) ?(%d*)')
if not full then return end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local returned = ARGV[1] * ARGV[2]
local after = math.max(full - returned, now)
-- The worth of all tokens given back is counted: by this, take.lua tells tokens that a sidecar still
-- believes taken from tokens that a server without its old state has forgotten.
given = (tonumber(given) or 0) + returned
local ttl = math.max(redis.call('PTTL', KEYS[1]), 1)
redis.call('SET', KEYS[1], string.format('%.0f %.0f %.0f %.0f', after, last, tonumber(owed) or 0, given), 'PX', ttl)
