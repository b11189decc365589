-- Says that a message is under way, unless it was sent before.
-- KEYS: the message: a letter for what became of it (w: under way, u: unknown, a: answered), digits of the request that it
--       was, when it began in milliseconds, a colon, and its answer, or the sidecar that has it under way.
-- ARGV: the request; "begin", "settle" where one whose outcome is unknown was not sent, "look" to change nothing; for how
--       long it is kept, and how long it may be under way, in milliseconds; the sidecar.
-- Returns what it is, and its answer.
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
