"""plivo for Python in alias mode: before each request the SDK sets its own address again."""

import os
import pathlib
import re
import tempfile
import unittest

import plivo
from plivo.exceptions import AuthenticationError, GeoPermissionError, PlivoRestError

from behaviours import RECIPIENT, Refusals, sent, shows, the_key_of

ACCOUNT = f"/v1/Account/{os.environ['AUTH_ID']}"
TEXT = "Ünïcode and a \N{ROCKET}"
PICTURE = "https://example.com/cat.png"
# Of a status without a class of its own, the SDK tells the number alone.
STATUS = {AuthenticationError: 401, GeoPermissionError: 403}


class Plivo(Refusals, unittest.TestCase):
    SDK = "plivo (Python)"
    ERROR = PlivoRestError

    def setUp(self):
        # The SDK checks the form of the account's id.
        self.client = plivo.RestClient("MA000000000000000000", "none")
        self.addCleanup(self.client.__exit__, None, None, None)
        # The way in which the SDK sends leaves the variable unread.
        self.client.session.verify = self.client.multipart_session.verify = os.environ["REQUESTS_CA_BUNDLE"]

    def send(self, to, sender, **more):
        return self.client.messages.create(src=sender, dst=to, text=TEXT, type_="whatsapp", **more)

    def told(self, error):
        if type(error) in STATUS:
            return STATUS[type(error)], str(error)
        return int(re.search(r"status code (\d+)", str(error))[1]), None

    @shows("send")
    def test_a_message_is_sent(self):
        message = self.send(RECIPIENT, os.environ["SENDER"])
        self.assertEqual(sent(message.message_uuid[0])["text"], TEXT)

    @shows("media out")
    def test_a_picture_is_stored_and_sent_by_its_url(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "cat.png")
            file.write_text("sample")
            stored = self.client.media.upload([str(file)])
        self.assertEqual(stored.objects[0].media_id, "sample")
        self.assertEqual(the_key_of(f"{ACCOUNT}/Media/", "POST"), os.environ["KEY_FINGERPRINT"])
        message = self.send(RECIPIENT, os.environ["SENDER"], media_urls=[PICTURE])
        self.assertEqual(sent(message.message_uuid[0])["media_urls"], [PICTURE])

    @shows("media in")
    def test_media_of_a_received_message_is_described_with_a_url_that_needs_no_key(self):
        media = self.client.messages.get("1").listMedia()
        self.assertEqual(media.objects[0].media_url, "https://media.plivo.com/sample")

    @shows("status")
    def test_the_state_of_a_message_is_read(self):
        self.assertEqual(self.client.messages.get("1").message_state, "delivered")
        self.assertEqual(the_key_of(f"{ACCOUNT}/Message/1/"), os.environ["KEY_FINGERPRINT"])


if __name__ == "__main__":
    unittest.main()
