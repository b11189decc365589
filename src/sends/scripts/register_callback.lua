-- Records to which message a callback key leads. Where several messages have one callback key, no event can tell them
-- apart, and the key leads to none.
--
-- KEYS[1]: the callback key
-- ARGV[1]: the message
-- ARGV[2]: the time for which the message is kept, in milliseconds
-- ARGV[3]: the value that stands for several messages
local held = redis.call('GET', KEYS[1])
local message = ARGV[1]
if held and held ~= message then message = ARGV[3] end
redis.call('SET', KEYS[1], message, 'PX', ARGV[2])
