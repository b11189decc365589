-- Takes tokens of a bucket that many sidecars share, by the server's clock: the generic cell rate algorithm. It keeps the
-- time at which the bucket is full again, and here also the time of the last token, for slowdowns. A bucket without a key
-- is full.
-- KEYS: 1 the tokens: when the bucket is full, when the last token was good, for how long tokens may be
--       owed, and how many microseconds' worth of tokens was given back; 2 what throttles have taught of the limit;
--       3 the epoch of the server: since when it counts for the account; 4 what throttles have taught of the account: left
--       out where they do not concern the limit.
-- ARGV: 1 microseconds in which a token comes; 2 burst; 3 number of tokens wanted; 4 microseconds for which a token may be
--       taken ahead; then the knowledge of the sidecar: 5 least microseconds until the bucket is full, if the server knows
--       all that was taken, 6 the same if the server has lost its state; 7 the epoch, or 0 where not known; 8 of what was given
--       back, how many microseconds' worth the sidecar knows of.
-- Returns 1 number of tokens taken; 2 microseconds from now until the first is good; 3 microseconds between the tokens;
--         4 tokens left; 5 microseconds until the bucket is full; 6 microseconds until a token beyond those taken can be good;
--         7 microseconds for which the limit or the account is paused; 8 the same of the account alone; 9 the epoch; 10 how many
--         microseconds' worth of tokens was given back.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst, wanted, ahead = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

-- End of the pause, and the factor by which the interval is longer then, from second to second a little smaller (RECOVERY of
-- the slowdown). A pause with more to go than its whole length was written before the clock went back: it does not count.
local function taught(key)
  local text = redis.call('GET', key)
  if not text then return 0, 1 end
  local ends, length, slowness = string.match(text, '(%d+) (%d+) ([%d.]+)')
  ends = tonumber(ends)
  if ends - now > tonumber(length) then return 0, 1 end
  return ends, tonumber(slowness) * 0.85 ^ math.floor(math.max(now - ends, 0) / 1000000)
end

local epoch = redis.call('GET', KEYS[3])
if not epoch then
  epoch = string.format('%.0f', now)
  redis.call('SET', KEYS[3], epoch)
end

if KEYS[4] then
  local account = taught(KEYS[4])
  if account > now then return {0, 0, 0, 0, 0, account - now, account - now, account - now, epoch, 0} end
end
local paused, slowness = taught(KEYS[2])
if paused > now then return {0, 0, 0, 0, 0, paused - now, paused - now, 0, epoch, 0} end
local spacing = interval * math.max(slowness, 1)

local tolerance = interval * burst
local known, last, owed, given = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+) ?(%d*) ?(%d*)')
owed, given = tonumber(owed) or 0, tonumber(given) or 0
local function keep(full)
  -- The debt of a message to many recipients is remembered until it is paid.
  owed = full > now + 2 * tolerance and math.max(owed, ahead) or 0
  local free = math.max(full, last + spacing)
  redis.call('SET', KEYS[1], string.format('%.0f %.0f %.0f %.0f', full, last, owed, given), 'PX',
    math.ceil((free - now) / 1000) + 1000)
end

-- A last token further ahead than any may be taken (MAX_AHEAD of the prefetch, but for debts), and a debt of more than a window
-- and what is owed, come of a clock that went back, or of a limit that was lowered. They are cut to a window: what sidecars have
-- taken ahead they know by their own clocks.
last = math.min(tonumber(last or 0), now + math.max(ahead, owed, 2000000))
local full = tonumber(known or now)
if full > now + 2 * tolerance + math.max(ahead, owed) then
  full = now + 2 * tolerance
  keep(full)
end
if epoch == ARGV[7] then
  -- Tokens that others have given back since the sidecar's last reply are taken no longer, though the sidecar believes so.
  full = math.max(full, now + ARGV[5] - math.max(given - ARGV[8], 0))
else
  full = math.max(full, now + ARGV[6])
end
if ARGV[7] ~= '0' and ARGV[7] ~= epoch then
  -- The server has lost its state, so the whole bucket may have been used. For a long window waiting for all of it would
  -- cost more than a second burst does, so ten seconds are the most.
  full = math.max(full, epoch + math.min(tolerance, 10000000))
end
local first = full + interval - tolerance
if spacing > interval then first = math.max(first, last + spacing, now) end
local taken = math.min(wanted, math.floor((now + ahead - first) / spacing) + 1)
if taken < 1 then
  return {0, 0, 0, 0, math.ceil(full - now), math.ceil(first - now), 0, 0, epoch, given}
end
local after = full + taken * interval
last = math.max(last, first + (taken - 1) * spacing)
keep(after)
local left = math.max(math.floor((now + tolerance - after) / interval), 0)
local following = math.ceil(first + taken * spacing - now)
return {taken, math.ceil(first - now), math.ceil(spacing), left, math.ceil(after - now), following, 0, 0, epoch, given}
