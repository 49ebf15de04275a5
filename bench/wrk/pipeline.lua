-- Sixteen requests in one write, the next sixteen when all are answered; wrk
-- counts each of them. Another depth is an argument of the script.
--   wrk -t1 -c64 -d10s -s bench/wrk/pipeline.lua http://127.0.0.1:8080/health
--   wrk ... -s bench/wrk/pipeline.lua http://127.0.0.1:8080/health -- 4
local batch

function init(args)
   local depth = tonumber(args[1]) or 16

   batch = string.rep(wrk.format(), depth)
end

function request()
   return batch
end
