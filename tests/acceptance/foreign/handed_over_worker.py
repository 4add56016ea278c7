"""A small HTTP server that serves the socket that it was handed over, as sd_listen_fds(3) says, and finishes the request that it has."""

import os
import select
import signal
import socket

assert os.environ["LISTEN_PID"] == str(os.getpid()) and os.environ["LISTEN_FDS"] == "1"
listener = socket.socket(fileno=3)
assert listener.getsockname() == (os.environ["HOST"], int(os.environ["PORT"]))
listener.setblocking(False)

wake, waker = os.pipe()
signal.signal(signal.SIGTERM, lambda number, frame: os.write(waker, b"x"))

while True:
    readable = select.select([listener, wake], [], [])[0]
    if wake in readable:
        break
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        continue  # Another replica took it.
    with connection:
        connection.setblocking(True)
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(4096)
            if not piece:
                break
            head += piece
        body = ("Hello from Worker ID: %s" % os.environ["OSTLER_REPLICA_ID"]).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
