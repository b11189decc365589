-- Pauses a limit, or an account, for all sidecars. All times and lengths are in microseconds.
--
-- KEYS: 1 the pause, as three numbers "ENDS LENGTH SLOWNESS":
--         ENDS      time at which the last pause ends
--         LENGTH    length of the last pause
--         SLOWNESS  factor by which the interval between tokens is longer after the pause
-- ARGV: 1 length of a first pause
--       2 length named by the provider, or 0
--       3 factor by which pauses in a row grow
--       4 "1" if the interval doubles after the pause
--       5 length of the longest pause
-- Returns the length left of the pause.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local first, named, growth = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local slows, longest = ARGV[4] == '1', tonumber(ARGV[5])

local before, length, slowness = 0, 0, 1
local text = redis.call('GET', KEYS[1])
if text then
  local ends, long, slow = string.match(text, '(%d+) (%d+) ([%d.]+)')
  -- A pause with more left than its whole length was written before the server's clock went back,
  -- and does not count.
  if ends - now <= tonumber(long) then before, length, slowness = tonumber(ends), tonumber(long), tonumber(slow) end
end
-- Requests already in flight when the pause began must not extend it, unless the provider names a time.
local is_paused = before > now
if is_paused and named == 0 then return before - now end

local pause = first
if named > 0 then pause = named
elseif before + length > now then pause = length * growth end
pause = math.min(pause, longest)
if not is_paused then
  -- The interval has recovered since the last pause ended (RECOVERY in slowdown.rs).
  slowness = math.max(slowness * 0.85 ^ math.floor((now - before) / 1000000), 1)
  -- The bound is MAX_SLOWDOWN in slowdown.rs.
  if slows then slowness = math.min(slowness * 2, 32) end
end
local ends = math.max(now + pause, before)
pause = ends - now
-- The key lives on for as long as the pause, in which a further pause is the next in a row, and for
-- 30 seconds at least, in which any slowdown recovers.
local kept = math.ceil((pause + math.max(pause, 30000000)) / 1000)
redis.call('SET', KEYS[1], string.format('%.0f %.0f %.4f', ends, pause, slowness), 'PX', kept)
return math.ceil(pause)
