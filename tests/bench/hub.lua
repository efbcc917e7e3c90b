-- hub.lua -- wrk's script for the hub: events for sessions that are there already. From the environment:
--   BENCH_IDS     file with session ids, one a line
--   BENCH_BATCH   so many events in a batch; 0: one event, by itself
--   BENCH_SEQ     the first batches' first seq (runs on one hub go on where the last ended)
-- Each thread takes sessions of its own in turn: batches of one session do not overtake each other.
-- What was measured goes out as post.lua does it.
local batch = tonumber(os.getenv("BENCH_BATCH"))
local seq = tonumber(os.getenv("BENCH_SEQ") or "1")
local threads = 0
local fields = '"name":"level_loaded","category":"info","labels":["game","load"],"message":"the level was loaded",' ..
   '"data":{"level":17,"took_ms":231.5,"assets":["a","b"]},"timestamp":"2026-01-02T03:04:05.678901Z"'

function setup(thread)
   thread:set("id", threads)
   threads = threads + 1
   thread:set("nthreads", tonumber(os.getenv("BENCH_THREADS")))
end

function init()
   ids = {}
   local n = 0
   for line in io.lines(os.getenv("BENCH_IDS")) do
      if n % nthreads == id then
         ids[#ids + 1] = line
      end
      n = n + 1
   end
   count = 0
end

function request()
   local at = count % #ids
   local round = math.floor(count / #ids)
   count = count + 1
   if batch == 0 then
      return wrk.format("POST", "/api/sessions/" .. ids[at + 1] .. "/events", nil, "{" .. fields .. "}")
   end
   local ops = {}
   for i = 1, batch do
      ops[i] = string.format('{"seq":%d,"op":"event",%s}', seq + round * batch + i, fields)
   end
   return wrk.format("POST", "/api/sessions/" .. ids[at + 1] .. "/batch", nil, '{"operations":[' .. table.concat(ops, ",") .. "]}")
end

function done(summary, latency)
   local e = summary.errors
   io.write(string.format(
      'JSON {"requests": %d, "duration_us": %d, "bytes": %d, "errors": %d, "p50_us": %d, "p99_us": %d}\n',
      summary.requests, summary.duration, summary.bytes, e.connect + e.read + e.write + e.status + e.timeout,
      latency:percentile(50), latency:percentile(99)))
end
