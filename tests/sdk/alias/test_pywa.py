"""pywa in alias mode: no setting for the address, and links as the provider writes them."""

import hashlib
import os
import unittest

from pywa import WhatsApp, errors

from sandbox import seen_by_sandbox

RECIPIENT = "15550001234"


class Pywa(unittest.TestCase):
    def setUp(self):
        self.wa = WhatsApp(phone_id="106540352242922", waba_id="102290129340398", token="none")

    def test_a_message_is_sent_and_marked_as_read(self):
        sent = self.wa.send_message(to=RECIPIENT, text="Ünïcode and a \N{ROCKET}")
        bodies = [one["body"] for one in seen_by_sandbox("sends") if one["wamid"] == sent.id]
        self.assertEqual([body["text"]["body"] for body in bodies], ["Ünïcode and a \N{ROCKET}"])
        self.assertTrue(self.wa.mark_message_as_read(message_id="wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQ="))

    def test_media_comes_back_from_the_providers_own_host(self):
        original = os.urandom(1 << 20)
        media = self.wa.upload_media(media=original, mime_type="image/jpeg", filename="photo.jpg")
        found = self.wa.get_media_url(media.id)
        self.assertTrue(found.url.startswith("https://lookaside.fbsbx.com/whatsapp_business/"), found.url)
        self.assertEqual(found.sha256, hashlib.sha256(original).hexdigest())
        self.assertEqual(self.wa.get_media_bytes(url=found.url), original)

    def test_paging_links_are_the_providers_own(self):
        page = self.wa.api.get_templates(waba_id="102290129340398", pagination={"limit": 2})
        self.assertTrue(page["paging"]["next"].startswith("https://graph.facebook.com/"), page["paging"])
        self.assertNotIn("access_token", page["paging"]["next"])

    def test_errors_of_the_provider_and_of_keyside_are_the_sdks_own(self):
        with self.assertRaises(errors.RateLimitHit):
            self.wa.send_message(to="15550130429", text="refused")
        with self.assertRaises(errors.WhatsAppError) as raised:
            self.wa.get_business_profile()
        self.assertEqual((raised.exception.status_code, raised.exception.type), (403, "KeysideError"))


if __name__ == "__main__":
    unittest.main()
