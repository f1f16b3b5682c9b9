-- Time, as every script tells it. Callers put this before their own script.
-- KEYS[1] is the tag clock and KEYS[2] the stream; ARGV[1] is a random epoch in case the clock must be made, and
-- ARGV[2] stands in for Redis TIME (microseconds) where it is not empty: tests let it jump.

local CLOCK, STREAM = KEYS[1], KEYS[2]

local function us(time)
  return string.format('%.0f', time)
end

local function wall()
  if ARGV[2] ~= '' then
    return tonumber(ARGV[2])
  end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- The epoch, and a time in it that is later than all given out before. A clock that was evicted, flushed or damaged
-- begins a new epoch, and the stream, which is ordered by its time, begins again with it.
local function tick()
  local seen = redis.pcall('HMGET', CLOCK, 'epoch', 'now')
  local epoch, last = seen[1], tonumber(seen[2] or '') -- nothing where the key is of another type
  if not (epoch and last) then
    redis.call('DEL', CLOCK, STREAM)
    epoch, last = ARGV[1], 0
    redis.call('HSET', CLOCK, 'epoch', epoch, 'base', '0', 'last', '0')
  end
  local now = math.max(wall(), last + 1)
  redis.call('HSET', CLOCK, 'now', us(now))
  return epoch, now
end
