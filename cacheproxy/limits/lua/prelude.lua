-- Counts one request against every check, or none. The kinds in use are put between this and admit.lua.
-- Times are integer microseconds. Every product stays under 2^53 (limits/arithmetic.py says the same, line for line).
local kinds = {}

local function numbers(key)
  local value = redis.call('GET', key)
  if not value then
    return nil
  end
  local first, second, third = string.match(value, '(%d+) (%d+) ?(%d*)')
  return tonumber(first), tonumber(second), tonumber(third)
end

-- A second beyond the reset, so that a clock set back a little finds the count still there.
local function ttl_ms(verdict)
  return math.ceil(verdict.reset / 1000) + 1000
end

local function keep_value(key, verdict)
  redis.call('SET', key, verdict.value, 'PX', ttl_ms(verdict))
end
