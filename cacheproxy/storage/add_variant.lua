-- Adds one variant to the marker of a key, in the place of the one with the same digest.
-- KEYS[1] the key; ARGV: the variant as JSON, its time to live in ms, how many may be kept, now (epoch seconds).
-- Whatever else is under the key (an entry without Vary, a foreign value) gives way.
local new = cjson.decode(ARGV[1])
local ttl_ms, cap, now = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local known = {}
local kept = redis.pcall('GET', KEYS[1])
if type(kept) == 'string' then
  local ok, marker = pcall(cjson.decode, kept)
  if ok and type(marker) == 'table' and type(marker.variants) == 'table' then
    known = marker.variants
  end
end

local variants = {}
for _, variant in ipairs(known) do
  if type(variant) == 'table' and variant.digest ~= new.digest and (tonumber(variant.keep_until) or 0) > now then
    variants[#variants + 1] = variant
  end
end
variants[#variants + 1] = new
while #variants > cap do
  table.remove(variants, 1)
end

ttl_ms = math.max(ttl_ms, redis.call('PTTL', KEYS[1]))
redis.call('SET', KEYS[1], cjson.encode({variants = variants}), 'PX', string.format('%d', ttl_ms))
return #variants
