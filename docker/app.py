"""The application server of Authgear's guide: answers with the request that reached it, as plain text.

    python3 app.py [HOST:PORT]

First the request line, then each header as it was received, with its name in lower case.
"""

import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.discard_body()
        lines = [self.requestline]
        lines += [f"{name.lower()}: {value}" for name, value in self.headers.items()]
        text = ("\n".join(lines) + "\n").encode("latin-1")

        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=latin-1")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def discard_body(self):
        if "Transfer-Encoding" not in self.headers:
            self.discard(int(self.headers.get("Content-Length", 0)))
            return
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            self.discard(size + 2)
        while self.rfile.readline().strip():
            pass

    def discard(self, length):
        while length > 0:
            length -= len(self.rfile.read(min(length, 65536))) or length

    def log_message(self, *arguments):
        pass


def main():
    host, _, port = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8000").rpartition(":")
    server = ThreadingHTTPServer((host, int(port)), Echo)
    server.daemon_threads = True
    # As a container's first process it would otherwise not be ended by it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    print(f"listening on {host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
