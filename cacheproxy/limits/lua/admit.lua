-- KEYS: one for each check.
-- ARGV: the time in microseconds ('' for the server's), 1 to count or 0 to look only, and for each check:
--       kind, cost, owed, capacity, span, tick, 1 to enforce or 0 for shadow.
-- Reply: for each check its wait (0: admitted), what remains, and the time until all is back.
local FIELDS = 7

local function time()
  if ARGV[1] ~= '' then
    return tonumber(ARGV[1])
  end
  local parts = redis.call('TIME')
  return parts[1] * 1000000 + parts[2]
end

local function check_at(index)
  local first = 3 + (index - 1) * FIELDS
  local quota = { capacity = tonumber(ARGV[first + 3]), span = tonumber(ARGV[first + 4]), tick = tonumber(ARGV[first + 5]) }
  return {
    kind = kinds[ARGV[first]],
    key = KEYS[index],
    quota = quota,
    cost = math.min(tonumber(ARGV[first + 1]), quota.capacity),
    owed = tonumber(ARGV[first + 2]),
    enforced = ARGV[first + 6] == '1',
  }
end

local function charge(check, now)
  local room = check.kind.decide(check.key, check.quota, now, 0).remaining
  local owed = math.min(check.owed, room)
  if owed > 0 then
    check.kind.keep(check.key, check.kind.decide(check.key, check.quota, now, owed), owed)
  end
end

local now, counting = time(), ARGV[2] == '1'
local checks, verdicts, refused = {}, {}, false
for index = 1, #KEYS do
  local check = check_at(index)
  if check.owed > 0 then
    charge(check, now)
  end
  local verdict = check.kind.decide(check.key, check.quota, now, check.cost)
  refused = refused or (check.enforced and verdict.wait > 0)
  checks[index], verdicts[index] = check, verdict
end

local reply = {}
for index, check in ipairs(checks) do
  local verdict = verdicts[index]
  if verdict.wait == 0 and refused then
    verdict = check.kind.decide(check.key, check.quota, now, 0)
  elseif verdict.wait == 0 and counting then
    check.kind.keep(check.key, verdict, check.cost)
  end
  reply[#reply + 1] = verdict.wait
  reply[#reply + 1] = verdict.remaining
  reply[#reply + 1] = verdict.reset
end
return reply
