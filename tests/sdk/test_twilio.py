"""twilio for Python, sending through Keyside. The SDK has no credential, only the address of the sidecar."""

import json
import os
import ssl
import unittest
import urllib.request

from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

KEYSIDE = os.environ["KEYSIDE_URL"]
SANDBOX = os.environ["SANDBOX_URL"]
FINGERPRINT = os.environ["KEY_FINGERPRINT"]
TEXT = "Ünïcode and a \N{ROCKET}"


class ThroughKeyside(TwilioHttpClient):
    """The hook of the SDK for a custom client puts the sidecar in the place of the provider."""

    def request(self, method, url, *args, **kwargs):
        return super().request(method, url.replace("https://api.twilio.com", KEYSIDE), *args, **kwargs)


def seen_by_sandbox(what):
    tls = ssl.create_default_context(cafile=os.environ["SANDBOX_CA"])
    with urllib.request.urlopen(f"{SANDBOX}/_sandbox/{what}", context=tls, timeout=10) as answer:
        return json.load(answer)


class Twilio(unittest.TestCase):
    def setUp(self):
        http = ThroughKeyside(timeout=20)
        self.addCleanup(http.session.close)
        self.client = Client(os.environ["ACCOUNT_SID"], "none", http_client=http)

    def send(self, to):
        return self.client.messages.create(from_="whatsapp:+15550001111", to=f"whatsapp:+{to}", body=TEXT)

    def test_a_message_is_sent_with_the_true_key(self):
        message = self.send("15550001234")
        sent = next(one for one in seen_by_sandbox("sends") if one["wamid"] == message.sid)
        self.assertEqual((sent["body"]["Body"], sent["token"]), (TEXT, FINGERPRINT))

    def test_errors_are_the_sdks_own(self):
        # Recipients for which the provider refuses the key, and reports a throttle.
        for to, status, code in [("15550000190", 401, 20003), ("15550130429", 429, 20429)]:
            with self.subTest(code=code):
                with self.assertRaises(TwilioRestException) as raised:
                    self.send(to)
                self.assertEqual((raised.exception.status, raised.exception.code), (status, code))
                seen = [one for one in seen_by_sandbox("requests") if one["path"].endswith("/Messages.json")][-1]
                self.assertEqual((seen["status"], seen["scheme"], seen["token"]), (status, "basic", FINGERPRINT))


if __name__ == "__main__":
    unittest.main()
