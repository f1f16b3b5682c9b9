-- The value is the theoretical arrival time. One too far ahead comes from a clock that has gone back.
kinds.gcra = {
  decide = function(key, quota, now, cost)
    local full = now + quota.capacity * quota.span
    local arrival = math.min(math.max(tonumber(redis.call('GET', key) or now), now), full)
    local after = arrival + cost * quota.span
    if after > full then
      return { wait = after - full, remaining = math.floor((full - arrival) / quota.span), reset = arrival - now }
    end
    return {
      wait = 0,
      remaining = math.floor((full - after) / quota.span),
      reset = after - now,
      value = string.format('%.0f', after),
    }
  end,
  keep = keep_value,
}
