-- Records the outcome of a message. A message that another sidecar has under way is neither forgotten nor marked as of
-- unknown outcome; an answer is kept whoever reports it.
--
-- KEYS[1]: the message, as in begin.lua
-- ARGV[1]: the digits of the request
-- ARGV[2]: "answered", "unknown" or "forget"
-- ARGV[3]: the time for which the message is kept, in milliseconds
-- ARGV[4]: the sealed answer
-- ARGV[5]: the id of the sidecar's attempt
local text = redis.call('GET', KEYS[1])
local state, request, began, rest = string.match(text or '', '^(%a)(%x+) (%d+):(.*)$')
if request and request ~= ARGV[1] then return end
local is_own = state == 'w' and rest == ARGV[5]
if ARGV[2] == 'answered' then
  redis.call('SET', KEYS[1], 'a' .. ARGV[1] .. ' ' .. (began or '0') .. ':' .. ARGV[4], 'PX', ARGV[3])
elseif is_own and ARGV[2] == 'forget' then
  redis.call('DEL', KEYS[1])
elseif is_own then
  redis.call('SET', KEYS[1], 'u' .. ARGV[1] .. ' ' .. began .. ':', 'PX', ARGV[3])
end
