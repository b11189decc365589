-- Keeps an answer for a message that has none, because a status event of the provider names the message as sent.
--
-- KEYS[1]: the message, as in begin.lua
-- ARGV[1]: the time of the event, in seconds
-- ARGV[2]: the difference of clocks that is allowed, in seconds; an earlier event is about an earlier message
-- ARGV[3]: the sealed answer
local text = redis.call('GET', KEYS[1])
local state, request, began = string.match(text or '', '^(%a)(%x+) (%d+):')
if not state or state == 'a' or began / 1000 > ARGV[1] + ARGV[2] then return end
redis.call('SET', KEYS[1], 'a' .. request .. ' ' .. began .. ':' .. ARGV[3], 'PX', math.max(redis.call('PTTL', KEYS[1]), 1))
