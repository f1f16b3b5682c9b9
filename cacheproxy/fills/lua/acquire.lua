-- KEYS: clock, stream, lease. ARGV: epoch, time, token, age limit (ms).
-- Gives {1, epoch, time} if the lease is ours now, else {0, its holder's token, what is left of its age (ms)}.

local LEASE = KEYS[3]
local holder = redis.call('GET', LEASE)
if holder then
  return {0, holder, redis.call('PTTL', LEASE)}
end
redis.call('SET', LEASE, ARGV[3], 'PX', ARGV[4])
local epoch, now = tick()
return {1, epoch, us(now)}
