-- KEYS: clock, stream. ARGV: epoch, time, bus, stream length, event (JSON text).
-- Gives {epoch, time, subscribers that heard it}.

local epoch, now = tick()
redis.call('HSET', CLOCK, 'event', us(now))
return {epoch, us(now), record(epoch, now, {kind = 'event', event = ARGV[5]}, ARGV[3], ARGV[4])}
