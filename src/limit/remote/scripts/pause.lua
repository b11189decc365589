-- Pauses a limit, or an account, for all sidecars.
-- KEYS: 1 what throttles have taught: end of the pause, its length, and the factor by which the interval is longer.
-- ARGV: 1 microseconds of a first pause; 2 microseconds that the provider named, or 0; 3 factor by which pauses in a
--       row grow; 4 '1' where the interval doubles after the pause; 5 microseconds of the longest pause.
-- Returns the microseconds that are left of the pause.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local first, named, growth = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local slows, longest = ARGV[4] == '1', tonumber(ARGV[5])

local before, length, slowness = 0, 0, 1
local text = redis.call('GET', KEYS[1])
if text then
  local ends, long, slow = string.match(text, '(%d+) (%d+) ([%d.]+)')
  -- A pause with more to go than its whole length was written before the clock went back: it does not count.
  if ends - now <= tonumber(long) then before, length, slowness = tonumber(ends), tonumber(long), tonumber(slow) end
end
-- Requests already in flight when the pause began must not extend it, but where the provider names a time.
local is_paused = before > now
if is_paused and named == 0 then return before - now end

local pause = first
if named > 0 then pause = named
elseif before + length > now then pause = length * growth end
pause = math.min(pause, longest)
if not is_paused then
  -- The interval has recovered since the last pause ended: RECOVERY of the slowdown.
  slowness = math.max(slowness * 0.85 ^ math.floor((now - before) / 1000000), 1)
  -- MAX_SLOWDOWN of the slowdown.
  if slows then slowness = math.min(slowness * 2, 32) end
end
local ends = math.max(now + pause, before)
pause = ends - now
-- Kept for as long again, in which another pause is one in a row, and for the 30 seconds in which any slowness is over.
local kept = math.ceil((pause + math.max(pause, 30000000)) / 1000)
redis.call('SET', KEYS[1], string.format('%.0f %.0f %.4f', ends, pause, slowness), 'PX', kept)
return math.ceil(pause)
