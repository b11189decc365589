"""messagebird for Python, through Keyside. The SDK has no credential, only the address of the sidecar."""

import os
import unittest

import requests
from messagebird import Client
from messagebird.client import ErrorException
from messagebird.http_client import HttpClient

from behaviours import RECIPIENT, Refusals, sent, shows, the_key_of

TEXT = "Ünïcode and a \N{ROCKET}"
PICTURE = {"image": {"url": "https://example.com/cat.png"}}


class MessageBird(Refusals, unittest.TestCase):
    SDK = "messagebird (Python)"
    # Some statuses raise an error of the SDK's HTTP client, the others what the body says.
    ERROR = (ErrorException, requests.HTTPError)

    def setUp(self):
        self.client = Client("none", HttpClient(f"{os.environ['KEYSIDE_URL']}/v1/", "none", "keyside-tests"))

    def start(self, to, sender, kind, content):
        start = {"channelId": sender, "to": to, "type": kind, "content": content}
        return self.client.conversation_start(start)

    def send(self, to, sender):
        return self.start(to, sender, "text", {"text": TEXT})

    def told(self, error):
        if isinstance(error, ErrorException):
            self.assertTrue(error.errors[0].description)
            return 401, str(error)
        return error.response.status_code, None

    @shows("send")
    def test_a_conversation_is_started_and_continued(self):
        conversation = self.send(RECIPIENT, os.environ["SENDER"])
        self.assertEqual(sent(conversation.messages.lastMessageId)["content"]["text"], TEXT)
        reply = self.client.conversation_create_message(
            conversation.id, {"channelId": os.environ["SENDER"], "type": "text", "content": {"text": TEXT}})
        self.assertEqual(sent(reply.id)["content"]["text"], TEXT)

    @shows("media out")
    def test_a_picture_is_sent_by_its_url(self):
        conversation = self.start(RECIPIENT, os.environ["SENDER"], "image", PICTURE)
        self.assertEqual(sent(conversation.id)["content"], PICTURE)

    @shows("status")
    def test_the_state_of_a_message_is_read(self):
        self.assertEqual(self.client.conversation_read_message("1").status, "delivered")
        self.assertEqual(the_key_of("/v1/messages/1"), os.environ["KEY_FINGERPRINT"])


if __name__ == "__main__":
    unittest.main()
