-- What a purge and an event have in common: they are told to those who listen, and kept for those who do not.

-- Appends `said` to the stream, publishes it, and returns how many heard it. Each entry names the one before it, so
-- that a reader sees whether any is missing.
local function record(epoch, now, said, bus, keep)
  said.epoch, said.at, said.after = epoch, us(now), redis.call('HGET', CLOCK, 'last') or '0'
  local message = cjson.encode(said)
  local added = redis.pcall('XADD', STREAM, 'MAXLEN', '~', keep, us(now) .. '-0', 'said', message)
  if type(added) == 'table' then
    if string.sub(added.err, 1, 9) ~= 'WRONGTYPE' then
      error(added.err)
    end
    redis.call('DEL', STREAM) -- not of our making; readers see the gap
    redis.call('XADD', STREAM, us(now) .. '-0', 'said', message)
  end
  redis.call('HSET', CLOCK, 'last', us(now))
  return tell(bus, message)
end

-- Notes in the clock that `tag` was purged at `at`; times only ever move forward.
local function mark(tag, mode, at)
  local field = 't:' .. tag
  local hard, soft = string.match(redis.call('HGET', CLOCK, field) or '', '^(%d+) (%d+)$')
  hard, soft = tonumber(hard or 0), tonumber(soft or 0)
  if mode == 'soft' then
    soft = math.max(soft, at)
  else
    hard = math.max(hard, at)
  end
  redis.call('HSET', CLOCK, field, us(hard) .. ' ' .. us(soft))
end

-- The latest time in a field that may be dropped when it is past: a tag's, or how far event rules were followed.
local function last_of(field, value)
  local kind = string.sub(field, 1, 2)
  if kind == 't:' then
    local hard, soft = string.match(value, '^(%d+) (%d+)$')
    return math.max(tonumber(hard or 0), tonumber(soft or 0))
  end
  return (kind == 'c:' or kind == 'm:') and tonumber(value) or math.huge
end

-- Keeps the clock small. No entry lives longer than `lifetime`, so none of them began before `now - lifetime`; what was
-- purged before that concerns nobody. One step looks at about `count` fields, however many there are.
local function compact(now, lifetime, count)
  local base = math.max(tonumber(redis.call('HGET', CLOCK, 'base') or 0), now - lifetime)
  local step = redis.call('HSCAN', CLOCK, redis.call('HGET', CLOCK, 'sweep') or '0', 'COUNT', count)
  redis.call('HSET', CLOCK, 'base', us(base), 'sweep', step[1])
  local fields = step[2]
  for i = 1, #fields, 2 do
    if last_of(fields[i], fields[i + 1]) <= base then
      redis.call('HDEL', CLOCK, fields[i])
    end
  end
end
