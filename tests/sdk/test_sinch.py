"""sinch for Python, through Keyside. The SDK has no credential, only the address of the sidecar, also for its token."""

import os
import unittest

from sinch import SinchClient
from sinch.core.clients.retry_configuration import RetryConfiguration
from sinch.core.exceptions import SinchException

from behaviours import RECIPIENT, Refusals, sent, shows, the_key_of

TEXT = "Ünïcode and a \N{ROCKET}"
PICTURE = "https://example.com/cat.png"


class Sinch(Refusals, unittest.TestCase):
    SDK = "sinch (Python)"
    ERROR = SinchException

    def setUp(self):
        # Without a repetition of the SDK's own, each refusal is seen.
        client = SinchClient(project_id=os.environ["PROJECT_ID"], key_id="none", key_secret="none",
                             conversation_region="us", retry_configuration=RetryConfiguration(max_retries=0))
        client.configuration.auth_origin = os.environ["KEYSIDE_URL"]
        client.configuration.conversation_origin = os.environ["KEYSIDE_URL"]
        self.messages = client.conversation.messages

    def send(self, to, sender):
        return self.messages.send_text_message(app_id=sender, text=TEXT, recipient_identities=whatsapp(to))

    def told(self, error):
        return error.http_response.status_code, str(error.http_response.body)

    @shows("send")
    def test_a_message_is_sent(self):
        message = self.send(RECIPIENT, os.environ["SENDER"])
        self.assertEqual(sent(message.message_id)["message"]["text_message"]["text"], TEXT)

    @shows("media out")
    def test_a_picture_is_sent_by_its_url(self):
        message = self.messages.send_media_message(
            app_id=os.environ["SENDER"], media_message={"url": PICTURE}, recipient_identities=whatsapp(RECIPIENT))
        self.assertEqual(sent(message.message_id)["message"]["media_message"]["url"], PICTURE)

    @shows("status")
    def test_a_message_is_read(self):
        message = self.send(RECIPIENT, os.environ["SENDER"])
        self.assertEqual(self.messages.get(message.message_id).id, message.message_id)
        path = f"/v1/projects/{os.environ['PROJECT_ID']}/messages/{message.message_id}"
        self.assertEqual(the_key_of(path), os.environ["KEY_FINGERPRINT"])


def whatsapp(number):
    return [{"channel": "WHATSAPP", "identity": number}]


if __name__ == "__main__":
    unittest.main()
