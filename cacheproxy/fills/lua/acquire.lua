-- KEYS: clock, stream, lease. ARGV: epoch, time, token, age limit (ms).
-- Gives {1, epoch, time} if the lease is ours now, else {0, its holder's token, what is left of its age (ms)}.

local LEASE = KEYS[3]
local holder = redis.pcall('GET', LEASE)
if type(holder) == 'table' then
  redis.call('DEL', LEASE) -- not of our making
  holder = false
end
if holder then
  return {0, holder, redis.call('PTTL', LEASE)}
end
-- The time first: a script that fails after SET leaves a lease that nobody holds.
local epoch, now = tick()
redis.call('SET', LEASE, ARGV[3], 'PX', ARGV[4])
return {1, epoch, us(now)}
