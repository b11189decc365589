"""twilio for Python in alias mode: a plain client, without the hook for another HTTP client."""

import os
import unittest

from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from sandbox import seen_by_sandbox

FINGERPRINT = os.environ["KEY_FINGERPRINT"]


class Twilio(unittest.TestCase):
    def setUp(self):
        self.client = Client(os.environ["ACCOUNT_SID"], "none")
        self.addCleanup(self.client.http_client.session.close)

    def send(self, to):
        return self.client.messages.create(from_="whatsapp:+15550001111", to=f"whatsapp:+{to}", body="Hello")

    def test_a_message_is_sent_with_the_true_key(self):
        message = self.send("15550001234")
        sent = next(one for one in seen_by_sandbox("sends") if one["wamid"] == message.sid)
        self.assertEqual((sent["body"]["Body"], sent["token"]), ("Hello", FINGERPRINT))

    def test_an_error_of_the_provider_is_the_sdks_own(self):
        with self.assertRaises(TwilioRestException) as raised:
            self.send("15550130429")
        self.assertEqual((raised.exception.status, raised.exception.code), (429, 20429))


if __name__ == "__main__":
    unittest.main()
