"""One role alone, as somebody who tries the program starts it."""

import http.server
import socket
import subprocess
import threading

from country import BIN, wait_for


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Origin:
    """A scripted web server that counts what it is asked."""

    def __init__(self, answer):
        self.requests = []
        self.dead = False
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self):
                if outer.dead:
                    # Kept connections die with the server.
                    self.close_connection = True
                    return
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                outer.requests.append((self.command, self.path, dict(self.headers), body))
                status, headers, content = answer(self.command, self.path, self.headers, body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_PROPFIND = handle_one

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.dead = True
        self.server.shutdown()
        self.server.server_close()

    def count(self, path):
        return sum(1 for _, asked, _, _ in self.requests if asked == path)


class Process:
    """A running `civicnet` with its log."""

    def __init__(self, arguments, log, port, kind=socket.SOCK_STREAM):
        self.arguments, self.log, self.port, self.kind = arguments, log, port, kind
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([BIN, *self.arguments], stdout=log, stderr=log)
        wait_for(self._listening, 20, f"port {self.port} of {self.arguments}")
        return self

    def _listening(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"ended with {self.process.returncode}: {open(self.log, errors='replace').read()[-2000:]}")
        with socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        return self.process.returncode
