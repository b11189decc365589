-- Lets nothing go for a while, for all sidecars.
-- KEYS: what throttles have taught. ARGV: the first pause in microseconds; the one that the provider has named, or 0; how
--       many times as long each in a row is as the one before; whether it goes slower after it; the longest.
-- Returns for how many microseconds nothing goes.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local first, named, growth, slows, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1', tonumber(ARGV[5])
local before, length, slowness = 0, 0, 1
local text = redis.call('GET', KEYS[1])
if text then
  local ends, long, slow = string.match(text, '(%d+) (%d+) ([%d.]+)')
  -- One that has longer to go than it is long comes of a clock that went back.
  if ends - now <= tonumber(long) then before, length, slowness = tonumber(ends), tonumber(long), tonumber(slow) end
end
-- What was on its way meanwhile says nothing new, unless it says for how long.
local is_paused = before > now
if is_paused and named == 0 then return before - now end

local pause = first
if named > 0 then pause = named
elseif before + length > now then pause = length * growth end
pause = math.min(pause, longest)
if not is_paused then
  -- It has come nearer to its pace since.
  slowness = math.max(slowness * 0.85 ^ math.floor((now - before) / 1000000), 1)
  if slows then slowness = math.min(slowness * 2, 32) end
end
local ends = math.max(now + pause, before)
pause = ends - now
-- As long again, in which another is one in a row; and at least until it goes at full pace.
local kept = math.ceil((pause + math.max(pause, 30000000)) / 1000)
redis.call('SET', KEYS[1], string.format('%.0f %.0f %.4f', ends, pause, slowness), 'PX', kept)
return math.ceil(pause)
