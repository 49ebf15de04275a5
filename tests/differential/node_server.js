// Says of every request what was seen of it. Node.js: node_server.js SOCKET
"use strict";
const http = require("http");

const server = http.createServer((request, response) => {
  const pieces = [];

  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    response.setHeader("X-Seen", String(request.headers["x-request-id"] || "").split(",")[0]);
    response.setHeader("X-Line", encodeURI(request.method + " " + request.url));
    response.end(Buffer.concat(pieces).toString("hex"));
  });
});
server.keepAliveTimeout = 60000;
server.listen(process.argv[2]);
