-- Takes tokens of a bucket that many sidecars share, by the server's clock and the generic cell rate
-- algorithm. A bucket without a key is full.
-- All times and lengths are in microseconds. The worth of a token is the time in which it comes.
--
-- KEYS: 1 the bucket, as four numbers "FULL LAST OWED GIVEN":
--         FULL   time at which the bucket is full again
--         LAST   time at which the last token taken is good; a slowdown counts from there
--         OWED   length for which tokens may be owed, after a message to many recipients
--         GIVEN  worth of all tokens given back so far
--       2 pause and slowdown of the limit, as written by pause.lua
--       3 epoch of the server: the time at which the server began to count for the account
--       4 pause of the account; left out if the account's pause does not hold the limit back
-- ARGV: 1 interval between two tokens
--       2 burst: number of tokens in a full bucket
--       3 number of tokens wanted
--       4 length by which a token may be taken before becoming good
--       The knowledge of the sidecar:
--       5 least length until the bucket is full, if the server knows all tokens taken
--       6 least length until the bucket is full, if the server has lost its state
--       7 epoch; 0 if not known
--       8 worth of the tokens given back, as far as left out of 5 already
-- Returns 1 number of tokens taken
--         2 length until the first token is good; negative if it has been good for a while
--         3 length between two tokens, taken or not; in a pause, as of its end
--         4 number of tokens left
--         5 length until the bucket is full; negative if it has been full for a while
--         6 length until a token beyond those taken can be good; negative as above
--         7 length left of a pause of the limit or of the account
--         8 length left of a pause of the account
--         9 epoch
--         10 worth of all tokens given back so far
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst, wanted, ahead = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

-- End of the last pause, and the factor of the slowdown at a time: it shrinks with each second since
-- that end (RECOVERY in slowdown.rs). A pause with more left than its whole length was written before
-- the server's clock went back, and does not count.
local function taught(key, at)
  local text = redis.call('GET', key)
  if not text then return 0, 1 end
  local ends, length, slowness = string.match(text, '(%d+) (%d+) ([%d.]+)')
  ends = tonumber(ends)
  if ends - now > tonumber(length) then return 0, 1 end
  return ends, tonumber(slowness) * 0.85 ^ math.floor(math.max(at - ends, 0) / 1000000)
end

local epoch = redis.call('GET', KEYS[3])
if not epoch then
  epoch = string.format('%.0f', now)
  redis.call('SET', KEYS[3], epoch)
end

local account = KEYS[4] and taught(KEYS[4], now) or 0
local paused, slowness = taught(KEYS[2], math.max(account, now))
local spacing = interval * math.max(slowness, 1)
if account > now then
  return {0, 0, math.ceil(spacing), 0, 0, account - now, account - now, account - now, epoch, 0}
end
if paused > now then return {0, 0, math.ceil(spacing), 0, 0, paused - now, paused - now, 0, epoch, 0} end

local tolerance = interval * burst
local known, last, owed, given = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+) ?(%d*) ?(%d*)')
owed, given = tonumber(owed) or 0, tonumber(given) or 0
local function keep(full)
  -- OWED is kept until the debt of a message to many recipients is paid.
  owed = full > now + 2 * tolerance and math.max(owed, ahead) or 0
  local free = math.max(full, last + spacing)
  redis.call('SET', KEYS[1], string.format('%.0f %.0f %.0f %.0f', full, last, owed, given), 'PX',
    math.ceil((free - now) / 1000) + 1000)
end

-- Two states arise only if the server's clock goes back or a limit is lowered: a LAST further ahead
-- than a token may be taken (MAX_AHEAD in prefetch/mod.rs, more for debts), and a debt longer than a
-- window and OWED. Both are cut. Sidecars know the tokens they hold by their own clocks.
last = math.min(tonumber(last or 0), now + math.max(ahead, owed, 2000000))
local full = tonumber(known or now)
if full > now + 2 * tolerance + math.max(ahead, owed) then
  full = now + 2 * tolerance
  keep(full)
end
if epoch == ARGV[7] then
  -- The sidecar does not know of tokens given back by others since its last reply: these count as
  -- there again.
  full = math.max(full, now + ARGV[5] - math.max(given - ARGV[8], 0))
else
  full = math.max(full, now + ARGV[6])
end
if ARGV[7] ~= '0' and ARGV[7] ~= epoch then
  -- The server has lost its state, so the whole bucket may have been used. For a long window, a wait
  -- for the whole bucket would cost more than a second burst: ten seconds are the most.
  full = math.max(full, epoch + math.min(tolerance, 10000000))
end
local first = full + interval - tolerance
if spacing > interval then first = math.max(first, last + spacing, now) end
local taken = math.min(wanted, math.floor((now + ahead - first) / spacing) + 1)
if taken < 1 then
  return {0, 0, math.ceil(spacing), 0, math.ceil(full - now), math.ceil(first - now), 0, 0, epoch, given}
end
local after = full + taken * interval
last = math.max(last, first + (taken - 1) * spacing)
keep(after)
local left = math.max(math.floor((now + tolerance - after) / interval), 0)
local following = math.ceil(first + taken * spacing - now)
return {taken, math.ceil(first - now), math.ceil(spacing), left, math.ceil(after - now), following, 0, 0, epoch, given}
