-- The list is the times admitted, oldest first. Time does not go back within it, unless by more than a window.
local function at(key, index)
  return tonumber(redis.call('LINDEX', key, index))
end

-- How many of the list are at or before horizon. Few, as each request drops what it finds: so look near the head first.
local function dead_by(key, length, horizon)
  local low, high = 0, 1
  while high <= length and at(key, high - 1) <= horizon do
    low, high = high, high * 2
  end
  high = math.min(high, length + 1)
  while high - low > 1 do
    local middle = math.floor((low + high) / 2)
    if at(key, middle - 1) <= horizon then
      low = middle
    else
      high = middle
    end
  end
  return low
end

kinds.sliding_log = {
  decide = function(key, quota, now, cost)
    local length = redis.call('LLEN', key)
    local newest = length > 0 and at(key, -1)
    if newest and newest > now + quota.span then
      newest, length = nil, 0
    end
    local horizon = math.max(now, newest or now) - quota.span
    local dead = dead_by(key, length, horizon)
    local live = length - dead
    local left = quota.capacity - live - cost
    if left < 0 then
      return {
        wait = at(key, dead - left - 1) + quota.span - now,
        remaining = math.max(0, left + cost),
        reset = newest + quota.span - now,
      }
    end
    if cost > 0 then
      newest = horizon + quota.span
    end
    return {
      wait = 0,
      remaining = left,
      reset = (live + cost > 0) and newest + quota.span - now or 0,
      live = live,
      time = string.format('%.0f', horizon + quota.span),
    }
  end,
  keep = function(key, verdict, cost)
    if verdict.live == 0 then
      redis.call('DEL', key)
    else
      redis.call('LTRIM', key, -verdict.live, -1)
    end
    for _ = 1, cost do
      redis.call('RPUSH', key, verdict.time)
    end
    redis.call('PEXPIRE', key, ttl_ms(verdict))
  end,
}
