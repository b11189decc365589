"""pywa, sending through Keyside. The SDK has no credential, only the address of the sidecar."""

import datetime
import hashlib
import os
import unittest

import httpx
from pywa import WhatsApp, errors
from pywa.types.groups import GroupJoinApprovalMode
from pywa.types.others import Result
from pywa.types.templates import BodyText, TemplateLanguage

from behaviours import BURST, BUSY, shows
from sandbox import seen_by_sandbox

KEYSIDE = os.environ["KEYSIDE_URL"]
SENDER = "106540352242922"
ACCOUNT = "102290129340398"
RECIPIENT = "15550001234"
TEMPLATE = "711633970112948"  # hello_world, which every account of the sandbox has

# Recipients, with the error code that the sandbox answers for each.
ERRORS = {
    "15550000190": (190, errors.ExpiredAccessToken),
    "15550130429": (130429, errors.RateLimitHit),
    "15550131056": (131056, errors.TooManyMessages),
}


class ThroughKeyside(unittest.TestCase):
    SDK = "pywa"

    def setUp(self):
        session = httpx.Client(timeout=20)
        self.addCleanup(session.close)
        self.wa = WhatsApp(phone_id=SENDER, waba_id=ACCOUNT, token="none", session=session)
        # pywa sets the provider's address on its session; the address of the sidecar replaces it.
        session.base_url = KEYSIDE + session.base_url.path

    def assertAccepted(self, sent_id, **fields):
        body = next(s for s in seen_by_sandbox("sends") if s["wamid"] == sent_id)["body"]
        self.assertEqual(body, body | fields)

    @shows("send")
    def test_a_text_is_sent(self):
        sent = self.wa.send_message(to=RECIPIENT, text="Ünïcode and a \N{ROCKET}")
        self.assertTrue(sent.id.startswith("wamid."))
        self.assertAccepted(sent.id, type="text", to=RECIPIENT)

    def test_a_template_is_sent(self):
        sent = self.wa.send_template(to=RECIPIENT, name="order_confirmation", language=TemplateLanguage.ENGLISH_US,
                                     params=[BodyText.params("Jessica", "SKBUP2-4CPIG9")])
        self.assertAccepted(sent.id, type="template")

    @shows("read")
    def test_a_message_is_marked_as_read(self):
        self.assertTrue(self.wa.mark_message_as_read(message_id="wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQ="))

    @shows("media in")
    @shows("media out")
    def test_media_comes_back_byte_by_byte(self):
        original = os.urandom(3 << 20)
        media = self.wa.upload_media(media=original, mime_type="image/jpeg", filename="photo.jpg")
        found = self.wa.get_media_url(media.id)
        self.assertTrue(found.url.startswith(KEYSIDE + "/"), found.url)
        self.assertEqual(found.sha256, hashlib.sha256(original).hexdigest())
        self.assertEqual(self.wa.get_media_bytes(url=found.url), original)
        sent = self.wa.send_image(to=RECIPIENT, image=media.id)
        self.assertAccepted(sent.id, type="image", image={"id": media.id})

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

    def test_the_sign_of_typing_is_shown(self):
        self.assertTrue(self.wa.indicate_typing(message_id="wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQ="))

    def test_groups_are_made_read_changed_and_deleted(self):
        made = self.wa.create_group(subject="Keyside", join_approval_mode=GroupJoinApprovalMode.APPROVAL_REQUIRED)
        self.assertTrue(made.request_id)
        # Not wa.get_groups(): pywa 4.5.0 expects a list, Meta's description has {"data": {"groups": [...]}}.
        listed = self.wa.api.get_active_groups(phone_id=SENDER)["data"]["groups"]
        group_id = next(group["id"] for group in listed if group["subject"] == "Keyside")
        group = self.wa.get_group(group_id)
        self.assertEqual((group.id, group.subject), (group_id, "Keyside"))
        link = self.wa.get_group_invite_link(group_id)
        self.assertNotEqual(link.link, self.wa.reset_group_invite_link(group_id).link)
        requests = list(self.wa.get_group_join_requests(group_id))
        self.assertEqual(len(requests), 1)
        self.wa.approve_group_join_requests(group_id=group_id, request_ids=[requests[0].id])
        self.assertEqual(len(self.wa.get_group(group_id).participants), 2)
        self.wa.remove_group_participants(group_id=group_id, participants=["15550001234"])
        self.assertEqual(len(self.wa.get_group(group_id).participants), 1)
        sent = self.wa.send_message(to=group_id, text="to all")
        self.assertAccepted(sent.id, recipient_type="group", to=group_id)
        self.assertTrue(self.wa.delete_group(group_id).request_id)
        with self.assertRaises(errors.WhatsAppError):
            self.wa.get_group(group_id)

    def test_templates_are_compared_unpaused_migrated_and_archived(self):
        start, end = datetime.datetime(2026, 11, 1), datetime.datetime(2026, 11, 29)
        compared = self.wa.compare_templates(TEMPLATE, "413970837002183", start=start, end=end)
        self.assertIn(TEMPLATE, compared.times_sent)
        self.assertTrue(self.wa.unpause_template(TEMPLATE))
        self.assertTrue(self.wa.migrate_templates(source_waba_id="1", destination_waba_id=ACCOUNT).migrated)
        self.assertTrue(self.wa.api.update_template(template_id=TEMPLATE, template={"category": "UTILITY"})["success"])
        # pywa writes the second host into the request; the address of the sidecar replaces it.
        archived = self.wa.api.send_raw_request("POST", f"/{ACCOUNT}/message_templates/archive", json={"hsm_ids": [TEMPLATE]})
        self.assertEqual(archived["archived_templates"], [TEMPLATE])

    def test_what_an_account_has_is_read_and_changed(self):
        api = self.wa.api
        flow = api.create_flow(name="order", categories=("OTHER",), waba_id=ACCOUNT)["id"]
        self.assertEqual(api.get_flow(flow_id=flow, fields=("id", "name"))["id"], flow)
        for what, answer in {
            "the metadata of a flow": api.update_flow_metadata(flow_id=flow, name="orders"),
            "a flow": api.publish_flow(flow_id=flow),
            "the end of a flow": api.delete_flow(flow_id=flow),
            "the commerce settings": api.update_commerce_settings(phone_id=SENDER, data={"is_cart_enabled": True}),
            "the settings of a number": api.update_business_phone_number_settings(phone_id=SENDER, settings={}),
        }.items():
            with self.subTest(what):
                self.assertTrue(answer["success"], answer)
        self.assertTrue(api.get_signups(waba_id=ACCOUNT)["data"])
        self.assertTrue(api.get_reserved_usernames(phone_id=SENDER)["data"])
        self.assertTrue(api.get_call_permissions(phone_id=SENDER, user_wa_id="15550001234", recipient=None)["actions"])
        self.assertEqual(api.get_business_phone_number(phone_id=SENDER, fields=("id",))["id"], SENDER)
        self.assertTrue(api.get_owned_wabas(business_portfolio_id="506914307656634")["data"])

    @shows("refused key")
    @shows("throttle")
    def test_the_providers_errors_keep_their_meaning(self):
        for recipient, (code, kind) in ERRORS.items():
            with self.assertRaises(kind) as raised:
                self.wa.send_message(to=recipient, text="refused")
            self.assertEqual(raised.exception.code, code)

    @shows("own 429")
    def test_a_limit_of_keyside_reads_like_the_limit_of_the_provider(self):
        for _ in range(BURST):
            self.wa.send_message(to=BUSY, text="accepted")
        with self.assertRaises(errors.TooManyMessages) as raised:
            self.wa.send_message(to=BUSY, text="refused")
        self.assertEqual((raised.exception.status_code, raised.exception.type), (429, "KeysideError"))

    @shows("own 403")
    def test_a_refusal_of_keyside_is_an_error_of_the_sdk(self):
        with self.assertRaises(errors.WhatsAppError) as raised:
            self.wa.get_business_profile()
        self.assertEqual(raised.exception.status_code, 403)
        self.assertEqual(raised.exception.type, "KeysideError")
        self.assertIn("profile", str(raised.exception))


if __name__ == "__main__":
    unittest.main()
