-- A request as a browser behind a proxy sends it: twelve fields, 700 bytes.
--   wrk -t1 -c64 -d10s -s bench/wrk/fields.lua http://127.0.0.1:8080/health
wrk.headers["User-Agent"] =
   "Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Firefox/115.0"
wrk.headers["Accept"] =
   "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
wrk.headers["Accept-Language"] = "en-GB,en;q=0.8,de;q=0.5,fr;q=0.3"
wrk.headers["Accept-Encoding"] = "gzip, deflate, br"
wrk.headers["Referer"] =
   "https://shop.example.com/orders/2024/11/overview?page=3&sort=date"
wrk.headers["Cookie"] =
   "session=f3b9c1d27a5e48d08b6f1e2a9c4d7b10; theme=dark; consent=yes; basket=5d41402abc4b2a76b9719d91"
wrk.headers["Cache-Control"] = "max-age=0"
wrk.headers["X-Forwarded-For"] = "203.0.113.195, 198.51.100.17"
wrk.headers["X-Forwarded-Proto"] = "https"
wrk.headers["X-Request-ID"] = "0191f2c8-7d4e-7a31-9c55-0f6f3b2e8d71"
wrk.headers["traceparent"] =
   "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
