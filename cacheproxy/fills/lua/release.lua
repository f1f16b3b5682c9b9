-- KEYS: lease, awaited. ARGV: token, bus, outcome. Only the holder's token takes the lease away; whoever waits for this
-- token is told in any case, for a holder that ran late may have filled all the same. If nobody does, nobody is told:
-- every replica would have to hear it.

if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
if redis.pcall('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[2])
tell(ARGV[2], cjson.encode({kind = 'wake', token = ARGV[1], outcome = ARGV[3]}))
return 1
