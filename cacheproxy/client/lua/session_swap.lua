-- Replaces a session that is still what it was read as, and keeps its TTL. Never creates one.
-- KEYS: the session. ARGV: what was read, what to write. Reply: 1 if written.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
