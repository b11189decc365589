-- Records that a message is under way, unless it was sent before.
--
-- KEYS[1]: the message. Its value is a letter for the state (w: under way, u: of unknown outcome, a: answered), the
--          digits of the request, a space, the time of the beginning in milliseconds, a colon, and then the answer (a)
--          or the id of the sidecar's attempt (w).
-- ARGV[1]: the digits of the request
-- ARGV[2]: "begin"; "settle" to begin also where the outcome is unknown; "look" to change nothing
-- ARGV[3]: the time for which the message is kept, in milliseconds
-- ARGV[4]: the time for which a message can be under way, in milliseconds; a longer one has lost its sidecar
-- ARGV[5]: the id of the sidecar's attempt
-- Returns the state before, and the answer if there is one.
local time = redis.call('TIME')
local now = math.floor(time[1] * 1000 + time[2] / 1000)
local text = redis.call('GET', KEYS[1])
if text then
  local state, request, began, answer = string.match(text, '^(%a)(%x+) (%d+):(.*)$')
  if request ~= ARGV[1] then return {'reused', ''} end
  if state == 'w' and now - began > tonumber(ARGV[4]) then state = 'u' end
  if state == 'a' then return {'answered', answer} end
  if state == 'w' then return {'under way', ''} end
  if ARGV[2] ~= 'settle' then return {'unknown', ''} end
end
if ARGV[2] ~= 'look' then
  redis.call('SET', KEYS[1], string.format('w%s %.0f:%s', ARGV[1], now, ARGV[5]), 'PX', ARGV[3])
end
return {'new', ''}
