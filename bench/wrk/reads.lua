-- Point reads: one row of 10,000 by its key, another one each time.
--   wrk -t1 -c64 -d10s -s bench/wrk/reads.lua http://127.0.0.1:8080/
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

function request()
    return wrk.format(nil, nil, nil, string.format(
        '{"statement":"item_by_id","parameters":{"id":%d}}',
        math.random(10000)))
end
