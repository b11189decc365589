"""vonage for Python in alias mode: the SDK writes `https://` before its host, whatever the host."""

import os
import pathlib
import tempfile
import unittest

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from vonage import Auth, Vonage
from vonage_http_client.errors import HttpRequestError
from vonage_messages.models import WhatsappImage, WhatsappImageResource, WhatsappText

from behaviours import RECIPIENT, Refusals, sent, shows, the_key_of

TEXT = "Ünïcode and a \N{ROCKET}"
PICTURE = "https://example.com/cat.png"


class VonageMessages(Refusals, unittest.TestCase):
    SDK = "vonage (Python)"
    ERROR = HttpRequestError

    def setUp(self):
        self.messages = Vonage(Auth(api_key="none", api_secret="none")).messages

    def send(self, to, sender):
        return self.messages.send(WhatsappText(from_=sender, to=to, text=TEXT))

    def told(self, error):
        return error.response.status_code, error.message

    @shows("send")
    def test_a_message_is_sent(self):
        message = self.send(RECIPIENT, os.environ["SENDER"])
        self.assertEqual(sent(message.message_uuid)["text"], TEXT)

    @shows("media out")
    def test_a_picture_is_sent_by_its_url(self):
        image = WhatsappImage(from_=os.environ["SENDER"], to=RECIPIENT, image=WhatsappImageResource(url=PICTURE))
        self.assertEqual(sent(self.messages.send(image).message_uuid)["image"]["url"], PICTURE)

    @shows("media in")
    def test_media_of_a_received_message_comes(self):
        # This part of the SDK signs a token itself, with any RSA key.
        key = rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
        client = Vonage(Auth(application_id="none", private_key=key)).http_client
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "cat.png")
            # The `url` of an event, as it is.
            client.download_file_stream("https://api.nexmo.com/v3/media/1", str(file))
            self.assertEqual(file.read_bytes(), b"sample")
        self.assertEqual(the_key_of("/v3/media/1"), os.environ["KEY_FINGERPRINT"])

    @shows("read")
    def test_a_message_is_marked_as_read(self):
        self.messages.mark_whatsapp_message_read("1")
        self.assertEqual(the_key_of("/v1/messages/1", "PATCH"), os.environ["KEY_FINGERPRINT"])


if __name__ == "__main__":
    unittest.main()
