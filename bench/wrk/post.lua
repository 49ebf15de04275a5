-- A job of no weight: POST with a 24-byte JSON body.
--   wrk -t1 -c64 -d10s -s bench/wrk/post.lua http://127.0.0.1:8080/
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"data":{"hello":"you"}}'
