"""messagebird-sdk, Bird's SDK for its platform API, through Keyside. The SDK has no credential, only the address of the sidecar."""

import os
import unittest

from bird import APIStatusError, Bird

from behaviours import RECIPIENT, Refusals, sent, shows, the_key_of

TEXT = "Ünïcode and a \N{ROCKET}"
PICTURE = "https://example.com/cat.png"
MESSAGES = "/v1/whatsapp/messages"


class BirdPlatform(Refusals, unittest.TestCase):
    SDK = "messagebird-sdk"
    ERROR = APIStatusError

    def setUp(self):
        # Without a repetition of the SDK's own, each refusal is seen.
        client = Bird(api_key="none", base_url=os.environ["KEYSIDE_URL"], max_retries=0)
        self.addCleanup(client.close)
        self.whatsapp = client.whatsapp

    def send(self, to, sender):
        return self.whatsapp.send(to=f"+{to}", from_=f"+{sender}", text={"body": TEXT})

    def told(self, error):
        return error.status_code, str(error)

    @shows("send")
    def test_a_message_is_sent(self):
        message = self.send(RECIPIENT, os.environ["SENDER"])
        self.assertEqual(sent(message.id)["text"]["body"], TEXT)

    @shows("media out")
    def test_a_picture_is_sent_by_its_url(self):
        message = self.whatsapp.send(to=f"+{RECIPIENT}", from_=f"+{os.environ['SENDER']}", image={"url": PICTURE})
        self.assertEqual(sent(message.id)["image"]["url"], PICTURE)

    @shows("media in")
    def test_a_received_file_is_fetched(self):
        message = self.send(RECIPIENT, os.environ["SENDER"])
        media = self.whatsapp.messages.media(message.id, "waf_1")
        self.assertTrue(media.data)
        self.assertEqual(the_key_of(f"{MESSAGES}/{message.id}/media/waf_1"), os.environ["KEY_FINGERPRINT"])

    @shows("read")
    def test_a_message_is_marked_as_read(self):
        message = self.send(RECIPIENT, os.environ["SENDER"])
        self.assertFalse(self.whatsapp.mark_read(message.id).typing_indicator)
        self.assertEqual(the_key_of(f"{MESSAGES}/{message.id}/read", "POST"), os.environ["KEY_FINGERPRINT"])

    @shows("status")
    def test_the_state_of_a_message_is_read(self):
        message = self.send(RECIPIENT, os.environ["SENDER"])
        self.assertEqual(self.whatsapp.get(message.id).id, message.id)
        self.assertEqual(the_key_of(f"{MESSAGES}/{message.id}"), os.environ["KEY_FINGERPRINT"])
        self.assertEqual(list(self.whatsapp.list_events(message.id).data), [])


if __name__ == "__main__":
    unittest.main()
