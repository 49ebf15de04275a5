-- A fresh connection for each request: the server is asked to close, and wrk
-- connects anew. Short runs only: each connection uses up a port for a while.
--   wrk -t1 -c64 -d2s -s bench/wrk/close.lua http://127.0.0.1:8080/health
wrk.headers["Connection"] = "close"
