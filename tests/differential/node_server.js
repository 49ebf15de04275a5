// Says of every request what was seen of it. Node.js: node_server.js SOCKET
"use strict";
const http = require("http");

function answer(request, response) {
  const pieces = [];

  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    response.setHeader("X-Seen", String(request.headers["x-request-id"] || "").split(",")[0]);
    response.setHeader("X-Line", encodeURI(request.method + " " + request.url));
    response.end(Buffer.concat(pieces).toString("hex"));
  });
}

const server = http.createServer(answer);
// Its own 417 would not say which request it answers.
server.on("checkExpectation", answer);
server.keepAliveTimeout = 60000;
server.listen(process.argv[2]);
