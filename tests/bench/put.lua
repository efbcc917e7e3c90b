-- put.lua -- wrk's script for writes: each PUT goes to a path of its own. From the environment:
--   BENCH_BYTES   length of the body
--   BENCH_PREFIX  what the paths begin with
--   BENCH_KEYS    so many paths, again and again; 0: always new ones
--   BENCH_PAUSE   milliseconds of rest on each connection between an answer and the next write
-- What was measured goes out as post.lua does it. Answers above 399 count as errors.
local bytes = tonumber(os.getenv("BENCH_BYTES"))
local prefix = os.getenv("BENCH_PREFIX")
local keys = tonumber(os.getenv("BENCH_KEYS") or "0")
local pause = tonumber(os.getenv("BENCH_PAUSE") or "0")
local threads = 0

function setup(thread)
   thread:set("id", threads)
   threads = threads + 1
end

function init()
   count = 0
   body = string.rep("0123456789abcdef", math.ceil(bytes / 16)):sub(1, bytes)
end

if pause > 0 then
   function delay()
      return pause
   end
end

function request()
   local n = keys > 0 and count % keys or count
   count = count + 1
   return wrk.format("PUT", string.format("%s/%d-%d", prefix, id, n), nil, body)
end

function done(summary, latency)
   local e = summary.errors
   io.write(string.format(
      'JSON {"requests": %d, "duration_us": %d, "bytes": %d, "errors": %d, "p50_us": %d, "p99_us": %d}\n',
      summary.requests, summary.duration, summary.bytes, e.connect + e.read + e.write + e.status + e.timeout,
      latency:percentile(50), latency:percentile(99)))
end
