-- Says which message an event tells of, or that several have the same text, and nobody could say which it is.
-- KEYS: what the event says. ARGV: the message; for how long it is kept, in milliseconds; what stands for several.
local held = redis.call('GET', KEYS[1])
local of = ARGV[1]
if held and held ~= of then of = ARGV[3] end
redis.call('SET', KEYS[1], of, 'PX', ARGV[2])
