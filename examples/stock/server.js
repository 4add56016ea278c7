'use strict';
const http = require('node:http');

const stock = { oats: 12, hay: 7, saddles: 2 };

const server = http.createServer((request, response) => {
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ stock, from: process.env.OSTLER_REPLICA_ID }) + '\n');
});

server.listen(Number(process.env.PORT), process.env.HOST);

process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
