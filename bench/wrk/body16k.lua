-- A job that is mostly bytes: POST with a JSON body of 16 KiB.
--   wrk -t1 -c64 -d10s -s bench/wrk/body16k.lua http://127.0.0.1:8080/
local frame = '{"data":""}'

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"data":"' .. string.rep("x", 16 * 1024 - #frame) .. '"}'
