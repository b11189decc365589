-- Answers a message that has no answer yet with what an event of the provider's says of it.
-- KEYS: the message, as in begin.lua. ARGV: when the event happened, and how far clocks may differ, in seconds; the answer.
local text = redis.call('GET', KEYS[1])
local state, request, began = string.match(text or '', '^(%a)(%x+) (%d+):')
if not state or state == 'a' or began / 1000 > ARGV[1] + ARGV[2] then return end
redis.call('SET', KEYS[1], 'a' .. request .. ' ' .. began .. ':' .. ARGV[3], 'PX', math.max(redis.call('PTTL', KEYS[1]), 1))
