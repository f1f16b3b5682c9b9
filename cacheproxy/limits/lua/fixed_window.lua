-- The value is the window's number and its count. One from the future (the clock went back) is still in force.
kinds.fixed_window = {
  decide = function(key, quota, now, cost)
    local window = math.floor(now / quota.span)
    local known, used = numbers(key)
    if not known or known < window then
      used = 0
    end
    local reset = (window + 1) * quota.span - now
    local left = quota.capacity - used - cost
    if left < 0 then
      return { wait = reset, remaining = math.max(0, left + cost), reset = reset }
    end
    used = used + cost
    return {
      wait = 0,
      remaining = left,
      reset = used > 0 and reset or 0,
      value = string.format('%.0f %.0f', window, used),
    }
  end,
  keep = keep_value,
}
