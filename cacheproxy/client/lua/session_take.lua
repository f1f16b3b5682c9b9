-- Takes a session away. KEYS: the session. Reply: its value and the milliseconds it had left (-1 for ever), or nothing.
local value = redis.call('GET', KEYS[1])
if not value then
  return false
end
local left = redis.call('PTTL', KEYS[1])
redis.call('DEL', KEYS[1])
return { value, left }
