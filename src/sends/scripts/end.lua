-- Says what became of a message.
-- KEYS: the message, as in begin.lua. ARGV: the request; "answered", "unknown" or "forget"; for how long it is kept, in
-- milliseconds; the answer; the sidecar. What another sidecar has under way it neither forgets nor gives up.
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
