"""Applications made with SDKs, killed and started again while events flow: with [spool] none is lost, and all come in order."""

import json
import os
import pathlib
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

SANDBOX = os.environ["SANDBOX_URL"]
HERE = pathlib.Path(__file__).parent
RECEIVERS = {
    "pywa": [sys.executable, HERE / "receiver_pywa.py"],
    "whatsapp-api-js": ["node", HERE / "receiver_whatsapp_api_js.mjs"],
}
EVENTS, RESTARTS = 120, 3


def ask_sandbox(method, what, body=None):
    tls = ssl.create_default_context(cafile=os.environ["SANDBOX_CA"])
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{SANDBOX}/_sandbox/{what}", data, method=method)
    with urllib.request.urlopen(request, context=tls, timeout=10) as answer:
        return json.load(answer)


def eventually(holds, seconds=60):
    end = time.monotonic() + seconds
    while not (result := holds()):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return result


class Restarted(unittest.TestCase):
    def test_pywa(self):
        self.none_is_lost("pywa")

    def test_whatsapp_api_js(self):
        self.none_is_lost("whatsapp-api-js")

    def none_is_lost(self, name):
        """Sends events of one person, and kills the application meanwhile."""
        eventually(lambda: ask_sandbox("GET", "apps"))
        ask_sandbox("DELETE", "deliveries")
        with tempfile.TemporaryDirectory() as directory:
            received = pathlib.Path(directory, "received")
            received.touch()
            environment = dict(os.environ, RECEIVED=str(received))
            start = lambda: subprocess.Popen([str(word) for word in RECEIVERS[name]], env=environment)
            texts = [f"{name} {number}" for number in range(EVENTS)]
            got = lambda: received.read_text().splitlines()
            application = start()
            sender = threading.Thread(target=self.send, args=(texts,))
            sender.start()
            try:
                for restart in range(RESTARTS):
                    before = len(got())
                    # The application has got something since its start, so it is killed in the midst of its work.
                    eventually(lambda: len(got()) > before)
                    application.kill()
                    application.wait()
                    time.sleep(0.5)
                    application = start()
                sender.join()
                eventually(lambda: len(set(got())) == EVENTS)
                # A text whose answer was lost comes once more, at once.
                kept = got()
                first = [text for place, text in enumerate(kept) if text not in kept[:place]]
                self.assertEqual(first, texts)
                statuses = {attempt.get("status") for attempt in ask_sandbox("GET", "deliveries")}
                self.assertEqual(statuses, {200}, "the provider notices nothing")
            finally:
                application.kill()
                application.wait()

    def send(self, texts):
        for text in texts:
            ask_sandbox("POST", "events", {"type": "text", "text": text})
            time.sleep(0.05)


if __name__ == "__main__":
    unittest.main()
