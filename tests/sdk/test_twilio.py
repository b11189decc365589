"""twilio for Python, through Keyside. The SDK has no credential, only the address of the sidecar."""

import os
import re
import unittest

import requests
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from behaviours import RECIPIENT, Refusals, sent, shows, the_key_of

KEYSIDE = os.environ["KEYSIDE_URL"]
ACCOUNT = f"/2010-04-01/Accounts/{os.environ['ACCOUNT_SID']}"
FROM = f"whatsapp:+{os.environ['SENDER']}"
TEXT = "Ünïcode and a \N{ROCKET}"


class ThroughKeyside(TwilioHttpClient):
    """The hook of the SDK for a custom client puts the sidecar in the place of the provider."""

    def request(self, method, url, *args, **kwargs):
        return super().request(method, re.sub(r"^https://\w+\.twilio\.com", KEYSIDE, url), *args, **kwargs)


class Twilio(Refusals, unittest.TestCase):
    SDK = "twilio (Python)"
    ERROR = TwilioRestException

    def setUp(self):
        http = ThroughKeyside(timeout=20)
        self.addCleanup(http.session.close)
        self.client = Client("ACffffffffffffffffffffffffffffffff", "none", http_client=http)

    def send(self, to, sender, **more):
        return self.client.messages.create(from_=f"whatsapp:+{sender}", to=f"whatsapp:+{to}", body=TEXT, **more)

    def told(self, error):
        self.assertEqual(error.code, {401: 20003, 429: 20429}.get(error.status, error.status))
        return error.status, error.msg

    @shows("send")
    def test_a_message_is_sent(self):
        message = self.send(RECIPIENT, os.environ["SENDER"])
        self.assertEqual(sent(message.sid)["Body"], TEXT)

    @shows("media out")
    def test_a_picture_is_sent_by_its_url(self):
        message = self.send(RECIPIENT, os.environ["SENDER"], media_url=["https://example.com/cat.png"])
        self.assertEqual(sent(message.sid)["MediaUrl"], "https://example.com/cat.png")

    @shows("media in")
    def test_media_of_a_received_message_is_described_and_its_bytes_are_at_a_signed_url(self):
        [media] = self.client.messages("MM0").media.list()
        self.assertEqual(self.client.messages("MM0").media(media.sid).fetch().content_type, "image/png")
        # The MediaUrl0 of an event, with the scheme and host of the sidecar.
        path = f"{ACCOUNT}/Messages/MM0/Media/{media.sid}"
        answer = requests.get(KEYSIDE + path, allow_redirects=False, timeout=20)
        self.assertEqual(answer.status_code, 307)
        self.assertTrue(answer.headers["Location"].startswith("https://mms.twiliocdn.com/"), answer.headers)
        self.assertEqual(the_key_of(path), os.environ["KEY_FINGERPRINT"])

    @shows("read")
    def test_the_sign_of_typing_is_shown(self):
        self.client.messaging.v2.typing_indicator.create(channel="whatsapp", message_id="SM0")
        self.assertEqual(the_key_of("/v2/Indicators/Typing.json", "POST"), os.environ["KEY_FINGERPRINT"])

    @shows("status")
    def test_the_state_of_a_message_is_read(self):
        self.assertEqual(self.client.messages("SM0").fetch().status, "delivered")
        self.assertEqual(the_key_of(f"{ACCOUNT}/Messages/SM0.json"), os.environ["KEY_FINGERPRINT"])


if __name__ == "__main__":
    unittest.main()
