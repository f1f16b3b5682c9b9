-- KEYS: clock, stream, lease, awaited, and what is to be filled where that is on this server.
-- ARGV: epoch, time, token, age limit (ms).
-- Gives {1, epoch, time, 1 if there is nothing to be found in place of filling} if the lease is ours now, else
-- {0, its holder's token, what is left of its age (ms)}.

local LEASE, AWAITED = KEYS[3], KEYS[4]
local holder = redis.pcall('GET', LEASE)
local left = holder and redis.call('PTTL', LEASE)
if type(holder) == 'table' or left == -1 then
  redis.call('DEL', LEASE) -- not of our making: of another type, or without an end
  holder = false
end
if holder then
  -- Only a lease that somebody waits for is told of when it ends, a while past its age: its holder may run late.
  redis.call('SET', AWAITED, holder, 'PX', math.max(left, 0) + 1000)
  return {0, holder, left}
end
local vacant = KEYS[5] and redis.call('PTTL', KEYS[5]) == -2
-- The time first: a script that fails after SET leaves a lease that nobody holds.
local epoch, now = tick()
redis.call('SET', LEASE, ARGV[3], 'PX', ARGV[4])
return {1, epoch, us(now), vacant and 1 or 0}
