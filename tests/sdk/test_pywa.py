"""pywa, sending through Keyside. It is given no credential, only the address of the sidecar."""

import hashlib
import json
import os
import ssl
import unittest
import urllib.request

import httpx
from pywa import WhatsApp, errors
from pywa.types.others import Result
from pywa.types.templates import BodyText, TemplateLanguage

KEYSIDE = os.environ["KEYSIDE_URL"]
SANDBOX = os.environ["SANDBOX_URL"]
SENDER = "106540352242922"
ACCOUNT = "102290129340398"
RECIPIENT = "15550001234"

# The recipients for which the sandbox answers with this error code of the provider.
ERRORS = {
    "15550000190": (190, errors.ExpiredAccessToken),
    "15550130429": (130429, errors.RateLimitHit),
    "15550131056": (131056, errors.TooManyMessages),
}


def accepted_sends():
    tls = ssl.create_default_context(cafile=os.environ["SANDBOX_CA"])
    with urllib.request.urlopen(f"{SANDBOX}/_sandbox/sends", context=tls, timeout=10) as answer:
        return json.load(answer)


class ThroughKeyside(unittest.TestCase):
    def setUp(self):
        session = httpx.Client(timeout=20)
        self.addCleanup(session.close)
        self.wa = WhatsApp(phone_id=SENDER, waba_id=ACCOUNT, token="none", session=session)
        # pywa sets the provider's address on the session it is given; the sidecar takes its place.
        session.base_url = KEYSIDE + session.base_url.path

    def assertAccepted(self, sent_id, **fields):
        body = next(s for s in accepted_sends() if s["wamid"] == sent_id)["body"]
        self.assertEqual(body, body | fields)

    def test_a_text_is_sent(self):
        sent = self.wa.send_message(to=RECIPIENT, text="Ünïcode and a \N{ROCKET}")
        self.assertTrue(sent.id.startswith("wamid."))
        self.assertAccepted(sent.id, type="text", to=RECIPIENT)

    def test_a_template_is_sent(self):
        sent = self.wa.send_template(to=RECIPIENT, name="order_confirmation", language=TemplateLanguage.ENGLISH_US,
                                     params=[BodyText.params("Jessica", "SKBUP2-4CPIG9")])
        self.assertAccepted(sent.id, type="template")

    def test_a_message_is_marked_as_read(self):
        self.assertTrue(self.wa.mark_message_as_read(message_id="wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQ="))

    def test_media_comes_back_byte_by_byte(self):
        original = os.urandom(3 << 20)
        media = self.wa.upload_media(media=original, mime_type="image/jpeg", filename="photo.jpg")
        found = self.wa.get_media_url(media.id)
        self.assertTrue(found.url.startswith(KEYSIDE + "/"), found.url)
        self.assertEqual(found.sha256, hashlib.sha256(original).hexdigest())
        self.assertEqual(self.wa.get_media_bytes(url=found.url), original)

    def test_every_page_of_templates_is_reached(self):
        # Not wa.get_templates(): in pywa 4.5.0 its result's own next() raises a TypeError before it sends.
        def first_page(limit):
            response = self.wa.api.get_templates(waba_id=ACCOUNT, pagination={"limit": limit})
            return Result(wa=self.wa, response=response, item_factory=lambda template: template["name"])

        page, names, pages = first_page(limit=2), [], 1
        names += page
        while page.has_next:
            page = page.next()
            names += page
            pages += 1
        self.assertGreater(pages, 1)
        self.assertEqual(names, list(first_page(limit=100)))

    def test_the_providers_errors_keep_their_meaning(self):
        for recipient, (code, kind) in ERRORS.items():
            with self.subTest(code=code), self.assertRaises(kind) as raised:
                self.wa.send_message(to=recipient, text="refused")
            self.assertEqual(raised.exception.code, code)

    def test_a_refusal_of_keyside_is_an_error_of_the_sdk(self):
        with self.assertRaises(errors.WhatsAppError) as raised:
            self.wa.get_business_profile()
        self.assertEqual(raised.exception.status_code, 403)
        self.assertEqual(raised.exception.type, "KeysideError")
        self.assertIn("profile", str(raised.exception))


if __name__ == "__main__":
    unittest.main()
