-- KEYS: clock, stream, replicas. ARGV: epoch, time, bus, stream length, longest entry lifetime (us; 0: unknown here),
-- mode, who waits for acknowledgements ('' for nobody), since when nothing may have been purged ('' if that does not
-- matter), number of tags of which nothing may have been, those tags..., tags to purge...
-- Gives {epoch, time, subscribers that heard it, replicas' ids, 1 if nothing was purged since then, else 0}.

local bus, keep, lifetime, mode, waiter = ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6], ARGV[7]
local since, watched = tonumber(ARGV[8]), tonumber(ARGV[9])

-- An event counts whatever it is: it is mapped later, at its own time.
local function undisturbed()
  if not since or (tonumber(redis.call('HGET', CLOCK, 'event') or '') or 0) >= since then
    return 0
  end
  for i = 10, 9 + watched do
    local hard, soft = string.match(redis.call('HGET', CLOCK, 't:' .. ARGV[i]) or '', '^(%d+) (%d+)$')
    if math.max(tonumber(hard or 0), tonumber(soft or 0)) >= since then
      return 0
    end
  end
  return 1
end

local epoch, now = tick()
local quiet = undisturbed()
local tags = {}
for i = 10 + watched, #ARGV do
  tags[#tags + 1] = ARGV[i]
  mark(ARGV[i], mode, now)
end
if lifetime > 0 then
  compact(now, lifetime, 16 + 2 * #tags)
end
local said = {kind = 'purge', mode = mode, tags = tags}
local replicas = {}
if waiter ~= '' then
  said.waiter, replicas = waiter, redis.call('HKEYS', KEYS[3])
end
return {epoch, us(now), record(epoch, now, said, bus, keep), replicas, quiet}
