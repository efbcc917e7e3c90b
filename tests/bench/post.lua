-- post.lua -- wrk's script: what to send comes from the environment, what was measured goes out as one line of JSON.
--   BENCH_BODY=FILE   POST this body as a git protocol v2 command; without it: GET
local body = os.getenv("BENCH_BODY")
if body then
   local file = assert(io.open(body, "rb"))
   wrk.method = "POST"
   wrk.body = file:read("*a")
   file:close()
   wrk.headers["Content-Type"] = "application/x-git-upload-pack-request"
   wrk.headers["Accept"] = "application/x-git-upload-pack-result"
   wrk.headers["Git-Protocol"] = "version=2"
end

function done(summary, latency)
   local e = summary.errors
   io.write(string.format(
      'JSON {"requests": %d, "duration_us": %d, "bytes": %d, "errors": %d, "p50_us": %d, "p99_us": %d}\n',
      summary.requests, summary.duration, summary.bytes, e.connect + e.read + e.write + e.status + e.timeout,
      latency:percentile(50), latency:percentile(99)))
end
