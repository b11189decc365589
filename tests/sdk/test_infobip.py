"""infobip-api-python-client, through Keyside. The SDK has no credential, only the address of the sidecar."""

import os
import unittest

from infobip_api_client import ApiClient, Configuration, models
from infobip_api_client.api.messages_api import MessagesApi
from infobip_api_client.exceptions import ApiException

from behaviours import RECIPIENT, Refusals, sent, shows, the_key_of

SENDER = os.environ["SENDER"]
TEXT = "Ünïcode and a \N{ROCKET}"
WHATSAPP = models.MessagesApiOutboundMessageChannel.WHATSAPP


class Infobip(Refusals, unittest.TestCase):
    SDK = "infobip-api-python-client"
    ERROR = ApiException

    def setUp(self):
        self.api = MessagesApi(ApiClient(Configuration(host=os.environ["KEYSIDE_URL"], api_key="none")))

    def send_body(self, to, sender, body):
        message = models.MessagesApiMessage(
            channel=WHATSAPP, sender=sender, content=models.MessagesApiMessageContent(body=body),
            destinations=[models.MessagesApiMessageDestination(models.MessagesApiToDestination(to=to))])
        messages = [models.MessagesApiRequestMessagesInner(message)]
        return self.api.send_messages_api_message(models.MessagesApiRequest(messages=messages))

    def send(self, to, sender):
        return self.send_body(to, sender, models.MessagesApiMessageTextBody(text=TEXT))

    def told(self, error):
        return error.status, error.body

    @shows("send")
    def test_a_message_is_sent(self):
        [message] = self.send(RECIPIENT, SENDER).messages
        self.assertEqual(sent(message.message_id)["messages"][0]["content"]["body"]["text"], TEXT)

    @shows("media out")
    def test_a_picture_is_sent_by_its_url(self):
        body = models.MessagesApiMessageImageBody(url="https://example.com/cat.png")
        [message] = self.send_body(RECIPIENT, SENDER, body).messages
        self.assertEqual(sent(message.message_id)["messages"][0]["content"]["body"]["url"], "https://example.com/cat.png")

    @shows("status")
    def test_the_states_of_messages_are_read(self):
        [report] = self.api.get_messages_api_delivery_reports().results
        self.assertEqual(report.status.group_name, "DELIVERED")
        self.assertEqual(the_key_of("/messages-api/1/reports"), os.environ["KEY_FINGERPRINT"])


if __name__ == "__main__":
    unittest.main()
