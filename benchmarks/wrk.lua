-- wrk -s wrk.lua URL -- METHOD KIND TARGET COUNT [NAME:VALUE]
--   KIND one:  TARGET again and again
--        zipf: TARGET with a number of 1 .. COUNT behind it, the n-th with a probability in proportion to 1/n
--        clients: the same, asked for by 1,000 browsers, each with a user agent, a referrer and cookies of its own
--        each: TARGET with a number behind it that is never the same, from COUNT on
-- Prints what wrk measured as one JSON object on the last line.

wrk.headers["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
wrk.headers["Accept-Encoding"] = "gzip, deflate, br, zstd"
wrk.headers["Accept-Language"] = "en-US,en;q=0.9,de;q=0.8"
wrk.headers["User-Agent"] =
  "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
wrk.headers["Referer"] = "https://app.example.com/articles"
wrk.headers["Sec-Fetch-Dest"] = "empty"
wrk.headers["Sec-Fetch-Mode"] = "cors"
wrk.headers["Sec-Fetch-Site"] = "same-origin"
wrk.headers["Sec-Ch-Ua"] = '"Chromium";v="130", "Not?A_Brand";v="99"'
wrk.headers["Sec-Ch-Ua-Mobile"] = "?0"
wrk.headers["Sec-Ch-Ua-Platform"] = '"Linux"'
wrk.headers["Dnt"] = "1"
wrk.headers["Priority"] = "u=1, i"
wrk.headers["Cookie"] = "_ga=GA1.1.123456789.1700000000; theme=dark; consent=yes"

local SAMPLES = 16384
local CLIENTS = 1000

local function speak_as(client)
  wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/130.0." .. client .. " Safari/537.36"
  wrk.headers["Referer"] = "https://app.example.com/articles/" .. client
  wrk.headers["Cookie"] = "_ga=GA1.1." .. client .. ".1700000000; theme=dark; consent=yes"
end

local function zipf(count)
  local sums, sum = {}, 0
  for n = 1, count do
    sum = sum + 1 / n
    sums[n] = sum
  end
  return function()
    local wanted, low, high = math.random() * sum, 1, count
    while low < high do
      local middle = math.floor((low + high) / 2)
      if sums[middle] < wanted then low = middle + 1 else high = middle end
    end
    return low
  end
end

function init(args)
  local method, kind, target, count = args[1], args[2], args[3], tonumber(args[4])
  wrk.method = method
  wrk.path = target
  if method == "POST" then
    wrk.headers["Content-Type"] = "application/json"
    wrk.body = '{"title": "A title", "body": "' .. string.rep("x", 200) .. '"}'
  end
  for i = 5, #args do
    local name, value = args[i]:match("^([^:]+):(.*)$")
    wrk.headers[name] = value
  end
  if kind == "zipf" or kind == "clients" then
    local draw, ready, at = zipf(count), {}, 0
    for i = 1, SAMPLES do
      if kind == "clients" then speak_as(math.random(CLIENTS)) end
      ready[i] = wrk.format(nil, target .. draw())
    end
    request = function()
      at = at % SAMPLES + 1
      return ready[at]
    end
  elseif kind == "each" then
    local before, after = wrk.format(nil, "/@@"):match("^(.-)/@@(.*)$")
    local n = count - 1
    request = function()
      n = n + 1
      return before .. target .. n .. after
    end
  end
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "duration_us": %d, "bytes": %d, "errors": %d, "p50_us": %d, "p99_us": %d, "p999_us": %d}\n',
    summary.requests, summary.duration, summary.bytes, e.connect + e.read + e.write + e.timeout + e.status,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
