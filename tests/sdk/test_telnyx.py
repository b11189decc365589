"""telnyx for Python, through Keyside. The SDK has no credential, only the address of the sidecar."""

import os
import unittest

import telnyx

from behaviours import RECIPIENT, Refusals, sent, shows, the_key_of

TEXT = "Ünïcode and a \N{ROCKET}"
PICTURE = "https://example.com/cat.png"


class Telnyx(Refusals, unittest.TestCase):
    SDK = "telnyx (Python)"
    ERROR = telnyx.APIStatusError

    def setUp(self):
        # Without retries: this SDK waits as long as an answer says, and sends again, twice by default.
        self.client = telnyx.Telnyx(base_url=f"{os.environ['KEYSIDE_URL']}/v2", api_key="none", max_retries=0)
        self.addCleanup(self.client.close)

    def send_content(self, to, sender, content):
        return self.client.messages.whatsapp(from_=f"+{sender}", to=f"+{to}", whatsapp_message=content)

    def send(self, to, sender):
        return self.send_content(to, sender, {"type": "text", "text": {"body": TEXT}})

    def told(self, error):
        return error.status_code, str(error)

    @shows("send")
    def test_a_message_is_sent(self):
        message = self.send(RECIPIENT, os.environ["SENDER"]).data
        self.assertEqual(sent(message.id)["whatsapp_message"]["text"]["body"], TEXT)

    @shows("media out")
    def test_a_picture_is_stored_and_sent_by_its_url(self):
        media = self.client.media.upload(media_url=PICTURE).data
        self.assertEqual(the_key_of("/v2/media", "POST"), os.environ["KEY_FINGERPRINT"])
        self.assertEqual(self.client.media.download(media.media_name).read(), b"sample")
        message = self.send_content(RECIPIENT, os.environ["SENDER"], {"type": "image", "image": {"link": PICTURE}}).data
        self.assertEqual(sent(message.id)["whatsapp_message"]["image"]["link"], PICTURE)

    @shows("status")
    def test_the_state_of_a_message_is_read(self):
        self.assertEqual(self.client.messages.retrieve("1").data.to[0].status, "delivered")
        self.assertEqual(the_key_of("/v2/messages/1"), os.environ["KEY_FINGERPRINT"])


if __name__ == "__main__":
    unittest.main()
