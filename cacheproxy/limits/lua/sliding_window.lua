-- The value is the window's number, its count and the last window's. All but now is in ticks.
local function counts(key, window)
  local known, used, last = numbers(key)
  if not known or known < window - 1 then
    return 0, 0
  end
  if known == window - 1 then
    return 0, used
  end
  return used, last
end

local function fade(quota, used, last, fading, cost)
  local room = quota.capacity - used - cost
  if room >= 0 then
    return fading - math.floor(room * quota.span / last)
  end
  return fading + quota.span - math.floor((quota.capacity - cost) * quota.span / used)
end

local function cleared(used, last, fading, span)
  if used > 0 then
    return fading + span
  end
  return last > 0 and fading or 0
end

kinds.sliding_window = {
  decide = function(key, quota, now_us, cost)
    local span = quota.span
    local now = math.floor(now_us / quota.tick)
    local window = math.floor(now / span)
    local used, last = counts(key, window)
    local fading = span - (now - window * span)
    local room = (quota.capacity - used) * span - last * fading
    if room < cost * span then
      return {
        wait = (now + fade(quota, used, last, fading, cost)) * quota.tick - now_us,
        remaining = math.max(0, math.floor(room / span)),
        reset = (now + cleared(used, last, fading, span)) * quota.tick - now_us,
      }
    end
    used = used + cost
    return {
      wait = 0,
      remaining = math.floor(room / span) - cost,
      reset = math.max(0, (now + cleared(used, last, fading, span)) * quota.tick - now_us),
      value = string.format('%.0f %.0f %.0f', window, used, last),
    }
  end,
  keep = keep_value,
}
