"""A Keyside under measurement, with a mock upstream behind it."""

import argparse
import contextlib
import http.client
import http.server
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
SENDER = "106540352242922"
SEND_PATH = f"/v23.0/{SENDER}/messages"
SEND = b'{"messaging_product":"whatsapp","to":"16505551234","type":"text","text":{"body":"hello"}}'

CONFIG = """\
[outbound]
listen = ["127.0.0.1:{port}"]
[inbound]
listen = ["127.0.0.1:{inbound}"]
[admin]
listen = ["unix:{directory}/admin.sock"]
[reload]
watch = "{watch}"
[provider.bench]
extends        = "meta"
upstream       = "https://localhost:{upstream}"
media_upstream = "https://localhost:{upstream}"
ca             = "{directory}/pki/ca.pem"
"""
CREDENTIAL = """
[credential.{name}]
provider   = "bench"
token      = "file:{directory}/{name}.token"
app_secret = "file:{directory}/{name}.app_secret"
check      = "{check}"
proof      = "{proof}"
[[route]]
credential = "{name}"
path       = "/{name}"
[route.limits]
per_sender = "1000000/s"
per_recipient = {{ rate = "1000000/s" }}
"""
WEBHOOK = """
[[webhook]]
path       = "/{name}"
credential = "{name}"
forward    = "unix:{directory}/application.sock"
"""


def options(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--keyside", default=HERE.parent / "target/dist/keyside", type=pathlib.Path)
    return parser


class Sidecar:
    def __init__(self, keyside, names=("acme",), under=(), webhooks=False, watch="off", check="off", proof="auto"):
        """`under`: a program to run Keyside under, as a list of arguments; `webhooks`: whether each name has one; `check`:
        whether the provider is asked about tokens; `proof`: whether requests carry an `appsecret_proof`."""
        self.keyside, self.names, self.under = keyside, names, under
        self.watch, self.check, self.proof = watch, check, proof
        self.template = CREDENTIAL + WEBHOOK if webhooks else CREDENTIAL

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keyside-bench-")))
            subprocess.run([HERE / "compare/pki.sh", self.directory / "pki"], check=True)
            self.upstream = stack.enter_context(Upstream(self.directory / "pki"))
            self.port, self.inbound = free_port(), free_port()
            self.write_config()
            self.log = self.directory / "log"
            with self.log.open("wb") as out:
                self.process = subprocess.Popen(
                    [*self.under, self.keyside, "run", "--config", self.directory / "proxy.toml"], stdout=out, stderr=out)
            stack.callback(self.stop)
            self.wait_until_it_sends()
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def write_config(self):
        where = {"directory": self.directory, "port": self.port, "inbound": self.inbound, "upstream": self.upstream.port,
                 "watch": self.watch, "check": self.check, "proof": self.proof}
        text = CONFIG.format(**where)
        for name in self.names:
            text += self.template.format(name=name, **where)
            self.write_secret(f"{name}.app_secret", os.urandom(16).hex())
            self.write_token(name)
        (self.directory / "proxy.toml").write_text(text)

    def write_token(self, name):
        token = "EAAG" + os.urandom(60).hex()
        self.write_secret(f"{name}.token", token)
        return token

    def write_secret(self, name, value):
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_text(value)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def wait_until_it_sends(self, seconds=60):
        end = time.monotonic() + seconds
        while True:
            try:
                if self.send(self.names[0]) == 200:
                    return
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"keyside does not send:\n{self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.01)

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def send(self, name, connection=None):
        """Sends one message by a route; returns the status."""
        return self.request("POST", f"/{name}{SEND_PATH}", SEND, {"Content-Type": "application/json"}, connection)

    def request(self, method, path, body=None, headers=None, connection=None):
        own = connection or self.connect()
        own.request(method, path, body, headers or {})
        answer = own.getresponse()
        while answer.read(1 << 16):
            pass
        if connection is None:
            own.close()
        return answer.status

    def hangup(self):
        self.process.send_signal(signal.SIGHUP)

    def rss(self):
        """Resident memory in KiB."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


class Upstream(http.server.ThreadingHTTPServer):
    """Answers sends, swallows uploads, and serves as many bytes as a media path asks for. Remembers the last token."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, pki):
        super().__init__(("127.0.0.1", 0), UpstreamRequest)
        self.port = self.server_address[1]
        self.token = None
        self.received = 0
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki / "server.pem", pki / "server.key")
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, *_):
        pass  # a connection that Keyside closed


class UpstreamRequest(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    CHUNK = bytes(1 << 16)

    def do_POST(self):
        self.server.token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.swallow_body()
        self.answer("application/json", b'{"messages":[{"id":"wamid.1"}],"id":"1"}')

    def do_GET(self):
        if self.path.startswith("/debug_token"):
            return self.answer("application/json", b'{"data":{"is_valid":true,"expires_at":0,"scopes":["whatsapp_business_messaging"]}}')
        size = int(re.search(r"bytes=(\d+)", self.path)[1])
        self.send_response(200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(size))
        self.end_headers()
        for _ in range(size // len(self.CHUNK)):
            self.wfile.write(self.CHUNK)

    def swallow_body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                self.count(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            self.count(int(self.headers.get("Content-Length", 0)))

    def count(self, size):
        self.server.received += size
        while size:
            size -= len(self.rfile.read(min(size, 1 << 16)))

    def answer(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
