-- KEYS: clock, stream, replicas. ARGV: epoch, time, bus, replica, number of this beat, age at which a replica is
-- forgotten (us), digest of the event rules, begin and end of the span in which this replica listened without a break
-- (us; '' if it only just began), for how long a break may pass (us), '1' to mend the break, and the epoch and time up
-- to which it has mapped all events ('' if it has not).
-- Gives {epoch, time, base, time of the last record, time up to which events are mapped, break (0 or 1)}.
--
-- Plain messages exist only for those who listen at that moment. 'c:' .. digest is the time up to which somebody did,
-- without a break. A replica whose own span begins later cannot tell at once whether another still bridges the two, so
-- at first it lets a short break pass.

local REPLICAS = KEYS[3]
local bus, replica, number, forget, digest = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6]), ARGV[7]
local from, to, patience, mend = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), ARGV[11] == '1'
local mapped_epoch, mapped = ARGV[12], tonumber(ARGV[13])

local function covered(now)
  local field = 'c:' .. digest
  local upto = tonumber(redis.call('HGET', CLOCK, field) or '')
  if mend or not upto then
    redis.call('HSET', CLOCK, field, us(math.max(upto or 0, to or now)))
    return 0
  end
  if from and upto >= from then
    redis.call('HSET', CLOCK, field, us(math.max(upto, to)))
    return 0
  end
  return now - upto <= patience and 0 or 1
end

local function register(now)
  redis.call('HSET', REPLICAS, replica, us(now))
  local registered = redis.call('HGETALL', REPLICAS)
  for i = 1, #registered, 2 do
    if now - (tonumber(registered[i + 1]) or 0) > forget then
      redis.call('HDEL', REPLICAS, registered[i])
    end
  end
end

-- Only ever forward, and never into an epoch in which it means nothing.
local function note_mapped(epoch)
  local field = 'm:' .. digest
  local known = tonumber(redis.call('HGET', CLOCK, field) or '')
  if mapped_epoch == epoch and mapped and mapped > (known or -1) then
    redis.call('HSET', CLOCK, field, us(mapped))
  end
  return redis.call('HGET', CLOCK, field) or ''
end

local epoch, now = tick()
register(now)
local broken = covered(now)
local seen = redis.call('HMGET', CLOCK, 'base', 'last')
local base, last = seen[1] or '0', seen[2] or '0'
tell(bus, cjson.encode({
  kind = 'beat', replica = replica, number = number, epoch = epoch, at = us(now), base = base, last = last
}))
return {epoch, us(now), base, last, note_mapped(epoch), broken}
