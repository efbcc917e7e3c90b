-- events.lua -- wrk's script for the session daemon: POST /event, for sessions that are there already.
-- From the environment:
--   BENCH_IDS     file with session ids, one a line; each thread takes them in turn
-- What was measured goes out as post.lua does it.
local fields = '"name":"level_loaded","category":"info","labels":["game","load"],"message":"the level was loaded",' ..
   '"data":{"level":17,"took_ms":231.5,"assets":["a","b"]}}'

function init()
   requests = {}
   for id in io.lines(os.getenv("BENCH_IDS")) do
      requests[#requests + 1] = wrk.format("POST", "/event", nil, '{"session_id":"' .. id .. '",' .. fields)
   end
   count = 0
end

function request()
   count = count + 1
   return requests[count % #requests + 1]
end

function done(summary, latency)
   local e = summary.errors
   io.write(string.format(
      'JSON {"requests": %d, "duration_us": %d, "bytes": %d, "errors": %d, "p50_us": %d, "p99_us": %d}\n',
      summary.requests, summary.duration, summary.bytes, e.connect + e.read + e.write + e.status + e.timeout,
      latency:percentile(50), latency:percentile(99)))
end
