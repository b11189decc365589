"""Tests of one behaviour of an SDK each, for the table that table.py prints at the end."""

import functools
import os

from sandbox import seen_by_sandbox

RECIPIENT = "15550001234"
REFUSED = "15550000190"  # the provider refuses the key
THROTTLED = "15550130429"  # the provider says that it is too much
BUSY = "15550001235"  # a recipient of this test alone
BURST = 10  # what the route allows for one recipient at once


def shows(behaviour):
    """A test of a behaviour of the SDK that the class names in SDK. A test that passes fills a cell of the table."""
    def decorate(test):
        @functools.wraps(test)
        def run(self):
            test(self)
            results = os.environ.get("KEYSIDE_SDK_RESULTS")
            if results:
                with open(results, "a", encoding="utf-8") as file:
                    file.write(f"{self.SDK}\t{behaviour}\n")
        return run
    return decorate


class Refusals:
    """The refusals of a message, for a provider other than Meta.

    A class with these tests has SDK, ERROR (the SDK's own class of errors), send(to, sender) and told(error): the status
    that the SDK gives, and the words of the answer, or None where the SDK keeps them to itself.
    """

    def refusal(self, to, sender=None):
        with self.assertRaises(self.ERROR) as raised:
            self.send(to, sender or os.environ["SENDER"])
        return self.told(raised.exception)

    def assertProviderRefused(self, to, status):
        self.assertEqual(self.refusal(to)[0], status)
        last = [one for one in seen_by_sandbox("requests") if one["status"] == status][-1]
        self.assertEqual(last["token"], os.environ["KEY_FINGERPRINT"])

    def assertKeysideRefused(self, refusal, status, words):
        self.assertEqual(refusal[0], status)
        if refusal[1] is not None:
            self.assertRegex(refusal[1], words)

    @shows("refused key")
    def test_a_key_that_the_provider_refuses_is_the_sdks_own_error(self):
        self.assertProviderRefused(REFUSED, 401)

    @shows("throttle")
    def test_a_throttle_of_the_provider_is_the_sdks_own_error(self):
        self.assertProviderRefused(THROTTLED, 429)

    @shows("own 429")
    def test_a_limit_of_keyside_is_the_sdks_own_error(self):
        before = len(seen_by_sandbox("sends"))
        for _ in range(BURST):
            self.send(BUSY, os.environ["SENDER"])
        self.assertKeysideRefused(self.refusal(BUSY), 429, "limit of this recipient")
        self.assertEqual(len(seen_by_sandbox("sends")), before + BURST)

    @shows("own 403")
    def test_a_sender_that_the_route_has_not_is_the_sdks_own_error(self):
        before = len(seen_by_sandbox("sends"))
        self.assertKeysideRefused(self.refusal(RECIPIENT, os.environ["OTHER_SENDER"]), 403, "sender")
        self.assertEqual(len(seen_by_sandbox("sends")), before)


def the_key_of(path, method="GET"):
    """The fingerprint of the key with which the last request for a path came to the provider."""
    requests = seen_by_sandbox("requests")
    return [one["token"] for one in requests if (one["method"], one["path"].split("?")[0]) == (method, path)][-1]


def sent(message_id):
    """What the provider accepted under an id, if it came with the true key."""
    one = next(one for one in seen_by_sandbox("sends") if one["wamid"] == message_id)
    assert one["token"] == os.environ["KEY_FINGERPRINT"], one
    return one["body"]
