'use strict';
const http = require('node:http');

const server = http.createServer((request, response) => {
  if (request.url === '/healthz') {
    response.end('ok\n');
    return;
  }
  response.end(`${process.env.GREETING} ${new Date().toISOString()}, says process ${process.pid}\n`);
});

server.listen(Number(process.env.PORT), process.env.HOST);

process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
