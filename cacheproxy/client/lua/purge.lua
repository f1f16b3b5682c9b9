-- KEYS: clock, stream, replicas. ARGV: epoch, time, bus, stream length, longest entry lifetime (us; 0: unknown here),
-- mode, who waits for acknowledgements ('' for nobody), tags...
-- Gives {epoch, time, subscribers that heard it, replicas' ids, time of the record before it}.

local bus, keep, lifetime, mode, waiter = ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6], ARGV[7]
local epoch, now = tick()
local tags = {}
for i = 8, #ARGV do
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
local heard = record(epoch, now, said, bus, keep)
return {epoch, us(now), heard, replicas, said.after}
