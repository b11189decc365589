"""No page in a browser can send through Keyside, whatever trick it uses.

Chromium, headless, opens pages that try. Between it and Keyside stands a tap that writes down what Chromium really
sent and what Keyside answered; the sandbox says what came through. A test fails if Chromium sends nothing, if Keyside
answers anything but a refusal, or if a single request reaches the provider.
"""

import contextlib
import http.client
import http.server
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.parse
import urllib.request

KEYSIDE = urllib.parse.urlsplit(os.environ["KEYSIDE_URL"])
ADMIN = urllib.parse.urlsplit(os.environ["KEYSIDE_ADMIN"])
SEND = "/v23.0/106540352242922/messages"
PAGE_SECONDS = 30

# The ways in which a page can make a browser send a request to another origin. `at` is the address under attack.
PAGE = """<!doctype html><title>evil</title>
<form id=text method=POST enctype=text/plain action="{at}{send}?form" target=a><input name='{{"messaging_product":"whatsapp","a":"' value='"}}'></form>
<form id=urlencoded method=POST action="{at}{send}?urlencoded" target=b><input name=to value=1></form>
<form id=reload method=POST action="{admin}/reload" target=c></form>
<iframe name=a></iframe><iframe name=b></iframe><iframe name=c></iframe><iframe src="{at}/v23.0/1?frame"></iframe>
<iframe src="{admin}/?framed"></iframe>
<img src="{at}/v23.0/1?image"><script src="{at}/v23.0/1?script"></script>
<script>
(async () => {{
  const body = '{{"messaging_product":"whatsapp","to":"15550001234","type":"text","text":{{"body":"evil"}}}}';
  const attempt = (query, options) => fetch("{at}{send}?" + query, {{method: "POST", body, ...options}}).catch(() => {{}});
  for (const form of document.forms) form.submit();
  navigator.sendBeacon("{at}{send}?beacon", body);
  await attempt("text", {{mode: "no-cors", headers: {{"Content-Type": "text/plain"}}}});
  await attempt("json", {{headers: {{"Content-Type": "application/json"}}}});
  await fetch("{at}/v23.0/1?get").catch(() => {{}});
  await fetch("{admin}/?read").catch(() => {{}});
  new EventSource("{admin}/page/updates?followed");
  await new Promise(done => setTimeout(done, 500));
  await fetch("/done");
}})();
</script>"""

SENT_BY_EVERY_PAGE = {
    ("POST", f"{SEND}?form"),
    ("POST", f"{SEND}?urlencoded"),
    ("POST", f"{SEND}?beacon"),
    ("POST", f"{SEND}?text"),
    ("GET", "/v23.0/1?get"),
    ("GET", "/v23.0/1?image"),
    ("GET", "/v23.0/1?script"),
    ("GET", "/v23.0/1?frame"),
    ("POST", "/reload"),
    ("GET", "/?framed"),
    ("GET", "/?read"),
    ("GET", "/page/updates?followed"),
}


class Tap(http.server.ThreadingHTTPServer):
    """Hands every request on to Keyside as it came, and remembers it with the status of the answer."""

    def __init__(self, target):
        self.seen = []
        self.target = (target.hostname, target.port)
        super().__init__(("127.0.0.1", 0), TapRequest)


class TapRequest(http.server.BaseHTTPRequestHandler):
    def relay(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        head = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items()) + "\r\n"
        with socket.create_connection(self.server.target, 10) as keyside:
            keyside.sendall(self.raw_requestline + head.encode("latin-1") + body)
            answer = http.client.HTTPResponse(keyside, method=self.command)
            answer.begin()
            content = answer.read()
        self.server.seen.append((self.command, self.path, answer.status))
        self.wfile.write(f"HTTP/1.0 {answer.status} {answer.reason}\r\n".encode())
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding"):
                self.wfile.write(f"{name}: {value}\r\n".encode())
        self.wfile.write(b"\r\n" + content)

    do_GET = do_POST = do_OPTIONS = do_HEAD = relay

    def log_message(self, *_):
        pass


class Pages(http.server.ThreadingHTTPServer):
    """Serves the attacking page, and learns from it when it has tried everything."""

    def __init__(self):
        self.page = ""
        self.done = threading.Event()
        super().__init__(("127.0.0.1", 0), PageRequest)


class PageRequest(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        if self.path == "/":
            self.wfile.write(self.server.page.encode())
        elif self.path == "/done":
            self.server.done.set()

    def log_message(self, *_):
        pass


class Browser(unittest.TestCase):
    def setUp(self):
        self.tap = self.serve(Tap(KEYSIDE))
        self.admin_tap = self.serve(Tap(ADMIN))
        self.pages = self.serve(Pages())
        self.upstream_before = upstream_requests()
        self.reloads_before = reloads()

    def serve(self, server):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server

    def attack(self, page_host, at_host):
        """Opens the page under one name; it attacks Keyside under another. Returns what arrived there."""
        self.pages.page = PAGE.format(at=f"http://{at_host}:{port(self.tap)}", send=SEND,
                                      admin=f"http://{at_host}:{port(self.admin_tap)}")
        with chromium(f"http://{page_host}:{port(self.pages)}/"):
            self.assertTrue(self.pages.done.wait(PAGE_SECONDS), "Chromium did not run the page")
        return self.tap.seen + self.admin_tap.seen

    def assertRefused(self, seen, expected, statuses):
        arrived = {(method, path) for method, path, _ in seen}
        self.assertLessEqual(expected, arrived, "Chromium sent all of these")
        for method, path, status in seen:
            self.assertIn(status, statuses, f"{method} {path}")
        self.assertEqual(upstream_requests(), self.upstream_before, "nothing reached the provider")
        self.assertEqual(reloads(), self.reloads_before, "nothing was reloaded")

    def test_the_tap_and_the_count_show_what_is_let_through(self):
        request = urllib.request.Request(f"http://127.0.0.1:{port(self.tap)}{SEND}", method="POST", data=json.dumps(
            {"messaging_product": "whatsapp", "to": "15550001234", "type": "text", "text": {"body": "an application"}}).encode(),
            headers={"Content-Type": "application/json"})
        self.assertEqual(urllib.request.urlopen(request, timeout=10).status, 200)
        self.assertEqual(self.tap.seen, [("POST", SEND, 200)])
        self.assertEqual(upstream_requests(), self.upstream_before + 1)

    def test_a_page_on_another_port_of_localhost(self):
        self.assertRefused(self.attack("localhost", "localhost"), SENT_BY_EVERY_PAGE, {403})

    def test_a_page_on_another_port_of_the_same_address(self):
        self.assertRefused(self.attack("127.0.0.1", "127.0.0.1"), SENT_BY_EVERY_PAGE, {403})

    def test_a_page_of_another_site(self):
        self.assertRefused(self.attack("evil.test", "127.0.0.1"), SENT_BY_EVERY_PAGE, {403})

    def test_a_page_whose_name_was_rebound_to_loopback(self):
        self.assertRefused(self.attack("evil.test", "evil.test"), SENT_BY_EVERY_PAGE, {403, 421})

    def test_a_rebound_name_opened_directly(self):
        # A page of a rebound name sends no Origin and no Sec-Fetch-Site to its own origin: only the Host tells.
        self.open_directly("evil.test", "/v23.0/1?rebound")
        self.assertRefused(self.tap.seen, {("GET", "/v23.0/1?rebound")}, {421})

    def open_directly(self, host, path):
        with chromium(f"http://{host}:{port(self.tap)}{path}"):
            end = time.monotonic() + PAGE_SECONDS
            while not self.tap.seen and time.monotonic() < end:
                time.sleep(0.1)


@contextlib.contextmanager
def chromium(url):
    """Runs Chromium on a page until the block ends. Every name ending in .test resolves to loopback for it."""
    profile = tempfile.mkdtemp(prefix="keyside-chromium-")
    argv = ["chromium", "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP *.test 127.0.0.1",
            f"--user-data-dir={profile}"]
    if os.geteuid() == 0:
        argv.append("--no-sandbox")
    log = pathlib.Path(profile, "log")
    with log.open("wb") as out:
        process = subprocess.Popen([*argv, url], stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(profile, ignore_errors=True)


def port(server):
    return server.server_address[1]


def upstream_requests():
    tls = ssl.create_default_context(cafile=os.environ["SANDBOX_CA"])
    with urllib.request.urlopen(f"{os.environ['SANDBOX_URL']}/_sandbox/requests", context=tls, timeout=10) as answer:
        return sum("/_sandbox/" not in request["path"] for request in json.load(answer))


def reloads():
    with urllib.request.urlopen(f"{ADMIN.geturl()}/metrics", timeout=10) as answer:
        return [line for line in answer.read().decode().splitlines() if line.startswith("keyside_reloads_total")]


if __name__ == "__main__":
    unittest.main()
