"""A worker that ends a connection when it was idle for IDLE_SECONDS, and does not say so in its answers. SIGTERM ends it at once.

GET /length and GET /chunked give half of a body of 5 MiB, and then nothing more.
"""
import os
import select
import socket
import threading
import time

IDLE_SECONDS = @IDLE_SECONDS@
CUT_BYTES = 5 * 1024 * 1024
GREETING = ("Hello from Worker ID: %s. Uptime: 0s\n" % os.environ["OSTLER_REPLICA_ID"]).encode()


def read_to(connection, data, is_enough):
    while not is_enough(data):
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    return data


def give_half(connection, framing, frame):
    connection.sendall(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
    for _ in range(CUT_BYTES // 2 // 65536):
        connection.sendall(frame(b"." * 65536))
    threading.Event().wait()


def serve(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = b""
    is_first = True
    while True:
        if not data and not is_first and not select.select([connection], [], [], IDLE_SECONDS)[0]:
            return
        is_first = False
        data = read_to(connection, data, lambda data: b"\r\n\r\n" in data)
        if data is None:
            return
        head, data = data.split(b"\r\n\r\n", 1)
        lines = head.split(b"\r\n")
        method, target, _ = lines[0].split(b" ")
        fields = {name.lower(): value.strip() for name, value in (line.split(b":", 1) for line in lines[1:])}
        length = int(fields.get(b"content-length", b"0"))
        data = read_to(connection, data, lambda data: len(data) >= length)
        if data is None:
            return
        body, data = data[:length], data[length:]
        if target == b"/length":
            give_half(connection, b"Content-Length: %d" % CUT_BYTES, lambda piece: piece)
        if target == b"/chunked":
            give_half(connection, b"Transfer-Encoding: chunked", lambda piece: b"%x\r\n%s\r\n" % (len(piece), piece))
        path, _, query = target.partition(b"?")
        wish = dict(pair.split(b"=") for pair in query.split(b"&") if pair)
        time.sleep(int(wish.get(b"delay_ms", b"0")) / 1000)
        answer = body if path == b"/echo" else b"." * int(wish[b"bytes"]) if b"bytes" in wish else GREETING
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + (b"" if method == b"HEAD" else answer)
        )


def serve_to_end(connection):
    try:
        with connection:
            serve(connection)
    except OSError:
        pass


# The agent holds the port with an equal socket that does not listen.
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((os.environ["HOST"], int(os.environ["PORT"])))
listener.listen(512)
while True:
    threading.Thread(target=serve_to_end, args=(listener.accept()[0],), daemon=True).start()
