-- Takes tokens of a bucket that many sidecars share, by the server's own clock: the generic cell rate algorithm, which
-- keeps the time at which the bucket is full again, and here also that of the last token, for when they have to come
-- further apart. A bucket that is forgotten is a full one.
-- KEYS: when it is full, and the last; what throttles have taught of it; what they have taught of its account; since when
--       this server counts.
-- ARGV: in how many microseconds a token comes; how many there are at most; how many are wanted; for how many
--       microseconds ahead; in how many microseconds, at the earliest, the bucket can be full as far as the one who asks
--       knows, where this server still knows all that was taken of it, and where it does not; since when it has counted as
--       far as the one who asks knows, or 0.
-- Returns how many are taken; from when on the first is good, in microseconds from now, and how far apart the others are;
--         how many are left; when the bucket is full; when to ask again; for how long the account is paused; since when
--         this server counts.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst, wanted, ahead = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

-- Until when nothing goes, and by how much slower it goes then, from second to second a little faster again. A pause that
-- has longer to go than it is long comes of a clock that went back.
local function taught(key)
  local text = redis.call('GET', key)
  if not text then return 0, 1 end
  local ends, length, slowness = string.match(text, '(%d+) (%d+) ([%d.]+)')
  ends = tonumber(ends)
  if ends - now > tonumber(length) then return 0, 1 end
  return ends, tonumber(slowness) * 0.85 ^ math.floor(math.max(now - ends, 0) / 1000000)
end

local since = redis.call('GET', KEYS[4])
if not since then
  since = string.format('%.0f', now)
  redis.call('SET', KEYS[4], since)
end

local account = taught(KEYS[3])
if account > now then return {0, 0, 0, 0, 0, account - now, account - now, since} end
local paused, slowness = taught(KEYS[2])
if paused > now then return {0, 0, 0, 0, 0, paused - now, 0, since} end
local spacing = interval * math.max(slowness, 1)

local known, last = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+)')
local function keep(full)
  local free = math.max(full, last + spacing)
  redis.call('SET', KEYS[1], string.format('%.0f %.0f', full, last), 'PX', math.ceil((free - now) / 1000) + 1000)
end

local tolerance = interval * burst
local full = math.max(tonumber(known or now), now + tonumber(ARGV[since == ARGV[7] and 5 or 6]))
if ARGV[7] ~= '0' and ARGV[7] ~= since then
  -- It has lost what it knew, so all may be used; for a long limit that would cost more than a second burst does.
  full = math.max(full, since + math.min(tolerance, 10000000))
end
-- None is taken further ahead, and more than a window of debt is never left to pay: such comes of a clock that went back,
-- or of a limit that was lowered.
last = math.min(tonumber(last or 0), now + ahead)
local most = now + 2 * tolerance + ahead
if full > most then
  full = most
  keep(full)
end
local first = full + interval - tolerance
if spacing > interval then first = math.max(first, last + spacing, now) end
local taken = math.min(wanted, math.floor((now + ahead - first) / spacing) + 1)
if taken < 1 then
  return {0, 0, 0, 0, math.ceil(full - now), math.ceil(first - ahead - now), 0, since}
end
local after = full + taken * interval
last = math.max(last, first + (taken - 1) * spacing)
keep(after)
local left = math.max(math.floor((now + tolerance - after) / interval), 0)
return {taken, math.ceil(first - now), math.ceil(spacing), left, math.ceil(after - now), 0, 0, since}
