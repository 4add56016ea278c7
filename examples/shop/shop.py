import json
import os
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STOCK = os.environ["OSTLER_USES_STOCK"]


class Shop(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/healthz":
            self.answer("ok\n")
            return
        with urllib.request.urlopen(STOCK + "/", timeout=10) as reply:
            found = json.load(reply)
        lines = [f"{count} {name}" for name, count in found["stock"].items()]
        self.answer("In stock, says " + found["from"] + ": " + ", ".join(lines) + "\n")

    def answer(self, text):
        body = text.encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Shop).serve_forever()
