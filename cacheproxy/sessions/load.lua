-- Reads a session and keeps it alive, if it is alive. Never creates a key and never shortens a TTL.
-- KEYS: the session. ARGV: its TTL in milliseconds, 0 where it does not slide.
-- It is touched at most once in a tenth of its TTL, so that reading does not become writing.
local value = redis.pcall('GET', KEYS[1])
if type(value) == 'table' then
  return false -- of another type, and so no session
end
local ttl = tonumber(ARGV[1])
if value and ttl > 0 then
  local left = redis.call('PTTL', KEYS[1])
  if left >= 0 and left <= ttl * 0.9 then
    redis.call('PEXPIRE', KEYS[1], ttl)
  end
end
return value
