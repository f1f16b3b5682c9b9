-- Says `message` to all who listen on `bus`, and returns how many there are on this server.
--
-- In a cluster that has sharded channels (7.0) it is said on the bus's own shard alone, and not to every node. Whoever
-- listens there listens both ways, so where that is not allowed or not possible now, the plain way will do.
local function tell(bus, message)
  local about = redis.REDIS_VERSION_NUM and redis.pcall('INFO', 'cluster') -- older servers do not tell their version
  if type(about) == 'string' and string.find(about, 'cluster_enabled:1', 1, true) then
    local heard = redis.pcall('SPUBLISH', bus, message)
    if type(heard) == 'number' then
      return heard
    end
  end
  return redis.call('PUBLISH', bus, message)
end
