"""Apprise in alias mode: the provider's address is a constant of its plugin."""

import unittest

import apprise

from sandbox import seen_by_sandbox


class Apprise(unittest.TestCase):
    def notify(self, recipient):
        sender = apprise.Apprise()
        self.assertTrue(sender.add(f"whatsapp://none@106540352242922/+{recipient}/"))
        return sender.notify(title="Alarm", body="Ünïcode and a \N{ROCKET}")

    def test_a_notification_is_sent(self):
        self.assertTrue(self.notify("15550001234"))
        self.assertIn("\N{ROCKET}", seen_by_sandbox("sends")[-1]["body"]["text"]["body"])

    def test_a_refused_notification_is_reported(self):
        self.assertFalse(self.notify("15550130429"))


if __name__ == "__main__":
    unittest.main()
