// @vonage/messages, sending through Keyside. The SDK has no credential, only the address of the sidecar.
import assert from "node:assert/strict";
import test from "node:test";
import { Auth } from "@vonage/auth";
import { Messages, WhatsAppText } from "@vonage/messages";
import { VetchError } from "@vonage/vetch";

import { askSandbox, lastMessage } from "./sandbox.mjs";

const { KEYSIDE_URL, KEY_FINGERPRINT } = process.env;

const messages = new Messages(new Auth({ apiKey: "none", apiSecret: "none" }), { apiHost: KEYSIDE_URL });
const send = (to) => messages.send(new WhatsAppText({ from: "15550001111", to, text: "Ünïcode and a 🚀" }));

test("a message is sent with a token that the true key signed", async () => {
  const { messageUUID } = await send("15550001234");
  const sent = (await askSandbox("GET", "sends")).find((one) => one.wamid === messageUUID);
  assert.equal(sent.body.text, "Ünïcode and a 🚀");
  assert.equal(sent.token, KEY_FINGERPRINT);
});

// The recipients for whom the provider refuses the token, and says that it is too much.
for (const [to, status, title] of [["15550000190", 401, "Unauthorized"], ["15550130429", 429, "Rate Limit Hit"]]) {
  test(`"${title}" is the SDK's own error`, async () => {
    const error = await send(to).then(assert.fail, (error) => error);
    assert.ok(error instanceof VetchError, error);
    assert.equal(error.response.status, status);
    assert.equal((await error.response.json()).title, title);
    const seen = await lastMessage("/v1/messages");
    assert.deepEqual([seen.status, seen.scheme, seen.token], [status, "minted", KEY_FINGERPRINT]);
  });
}
