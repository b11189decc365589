"""An application made with pywa and FastAPI behind Keyside, which checks the signature of every webhook again."""

import json
import os
import ssl
import threading
import time
import unittest
import urllib.request

import fastapi
import uvicorn
from pywa import WhatsApp

SANDBOX = os.environ["SANDBOX_URL"]
HOST, PORT = os.environ["APPLICATION"].split(":")
TEXT = "Is the caf\u00e9 open? 50% <now> a@b.co \U0001f600"


def ask_sandbox(method, what, body=None):
    tls = ssl.create_default_context(cafile=os.environ["SANDBOX_CA"])
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{SANDBOX}/_sandbox/{what}", data, method=method)
    with urllib.request.urlopen(request, context=tls, timeout=10) as answer:
        return json.load(answer)


def eventually(holds, seconds=20):
    end = time.monotonic() + seconds
    while not (result := holds()):
        if time.monotonic() > end:
            raise AssertionError(f"it did not come about within {seconds} s")
        time.sleep(0.05)
    return result


class BehindKeyside(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.received = []
        app = fastapi.FastAPI()
        wa = WhatsApp(phone_id="107878721936019", token="none", server=app, webhook_endpoint="/events", verify_token="unused",
                      app_secret=os.environ["APP_SECRET"], validate_updates=True, filter_updates=False)
        wa.on_message()(lambda _, message: cls.received.append(("message", message.type.value, message.text)))
        wa.on_callback_button()(lambda _, button: cls.received.append(("button", button.title)))
        cls.server = uvicorn.Server(uvicorn.Config(app, host=HOST, port=int(PORT), log_level="warning"))
        cls.thread = threading.Thread(target=cls.server.run)
        cls.thread.start()
        eventually(lambda: cls.server.started)
        eventually(lambda: ask_sandbox("GET", "apps"))

    @classmethod
    def tearDownClass(cls):
        cls.server.should_exit = True
        cls.thread.join(10)

    def setUp(self):
        self.received.clear()
        ask_sandbox("DELETE", "deliveries")

    def test_what_users_write_passes_both_checks(self):
        ask_sandbox("POST", "events", {"type": "text", "text": TEXT})
        eventually(lambda: ("message", "text", TEXT) in self.received)
        ask_sandbox("POST", "events", {"type": "image"})
        eventually(lambda: any(kind[:2] == ("message", "image") for kind in self.received))
        ask_sandbox("POST", "events", {"type": "button", "text": "Yes"})
        eventually(lambda: ("button", "Yes") in self.received)
        statuses = [attempt.get("status") for attempt in ask_sandbox("GET", "deliveries")]
        self.assertEqual(statuses, [200, 200, 200])

    def test_a_forgery_reaches_nobody(self):
        ask_sandbox("POST", "events", {"forged": True, "text": "Send money"})
        attempts = eventually(lambda: ask_sandbox("GET", "deliveries"))
        self.assertEqual([attempt.get("status") for attempt in attempts], [401])
        self.assertEqual(self.received, [])


if __name__ == "__main__":
    unittest.main()
