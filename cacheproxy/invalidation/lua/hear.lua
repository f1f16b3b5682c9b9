-- KEYS: clock, stream, replicas, guard. ARGV: epoch, time, bus, stream length, longest entry lifetime (us), position,
-- number of tags to purge hard, those tags..., tags to purge softly...
-- Every replica hears the same plain messages in the same order, so the position after a common marker tells which of
-- them were purged already, by whichever replica came first. Gives the number of purges made: 0, 1 or 2.

local GUARD = KEYS[4]
local bus, keep, lifetime, position, n_hard = ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])

local function purge(mode, first, last)
  if last < first then
    return 0
  end
  local epoch, now = tick()
  local tags = {}
  for i = first, last do
    tags[#tags + 1] = ARGV[i]
    mark(ARGV[i], mode, now)
  end
  record(epoch, now, {kind = 'purge', mode = mode, tags = tags}, bus, keep)
  compact(now, lifetime, 16 + 2 * #tags)
  return 1
end

if tonumber(redis.call('GET', GUARD) or '0') >= position then
  return 0
end
redis.call('SET', GUARD, position, 'PX', 60000)
return purge('hard', 8, 7 + n_hard) + purge('soft', 8 + n_hard, #ARGV)
