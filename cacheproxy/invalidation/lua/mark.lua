-- KEYS: clock, stream. ARGV: epoch of the events, '', then for each purge: time, mode, number of tags, tags...
-- An event's time was taken when it was published, so every replica that maps it says the same and none need agree.
-- Gives 1, or 0 where the clock is of another epoch and there is nothing left to purge.

if redis.call('HGET', CLOCK, 'epoch') ~= ARGV[1] then
  return 0
end
local base = tonumber(redis.call('HGET', CLOCK, 'base') or '0')
local at = 3
while at <= #ARGV do
  local time, mode, n = tonumber(ARGV[at]), ARGV[at + 1], tonumber(ARGV[at + 2])
  for i = at + 3, at + 2 + n do
    if time > base then
      mark(ARGV[i], mode, time)
    end
  end
  at = at + 3 + n
end
return 1
