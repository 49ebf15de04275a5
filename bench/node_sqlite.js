// What a Node.js user would write: node:http, and better-sqlite3 in the same
// thread, with its statements prepared once. PORT, DATABASE.
'use strict';

const http = require('node:http');
const Database = require('better-sqlite3');

const database = new Database(process.env.DATABASE, {readonly: true});
const statements = {
  item_by_id: database.prepare(
      'SELECT id, name, price FROM items WHERE id = :id'),
};

function answer(response, status, value) {
  const body = JSON.stringify(value);
  response.writeHead(status, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(body),
  });
  response.end(body);
}

http.createServer((request, response) => {
  const pieces = [];
  request.on('data', (piece) => pieces.push(piece));
  request.on('end', () => {
    if (request.method !== 'POST') {
      answer(response, 200, {status: 'ok'});
      return;
    }
    try {
      const job = JSON.parse(Buffer.concat(pieces));
      const rows = statements[job.statement].all(job.parameters);
      answer(response, 200, {rows, changes: 0});
    } catch (error) {
      answer(response, 422, {detail: error.message});
    }
  });
}).listen(process.env.PORT, '127.0.0.1');
