// twilio for Node, sending through Keyside. The SDK has no credential, only the address of the sidecar.
import assert from "node:assert/strict";
import test from "node:test";
import twilio from "twilio";

import { askSandbox, lastMessage } from "./sandbox.mjs";

const { KEYSIDE_URL, KEY_FINGERPRINT, ACCOUNT_SID } = process.env;
const FROM = "whatsapp:+15550001111";

// The hook of the SDK for a custom client puts the sidecar in the place of the provider.
class ThroughKeyside extends twilio.RequestClient {
  request(options) {
    return super.request({ ...options, uri: options.uri.replace("https://api.twilio.com", KEYSIDE_URL) });
  }
}

const client = twilio(ACCOUNT_SID, "none", { httpClient: new ThroughKeyside() });
const send = (to) => client.messages.create({ from: FROM, to: `whatsapp:+${to}`, body: "Ünïcode and a 🚀" });

test("a message is sent with the true key", async () => {
  const message = await send("15550001234");
  assert.match(message.sid, /^SM[0-9a-f]{32}$/);
  assert.equal(message.accountSid, ACCOUNT_SID);
  const sent = (await askSandbox("GET", "sends")).find((one) => one.wamid === message.sid);
  assert.equal(sent.body.Body, "Ünïcode and a 🚀");
  assert.equal(sent.token, KEY_FINGERPRINT);
});

// The recipients for whom the provider refuses the key, and says that it is too much.
for (const [to, status, code] of [["15550000190", 401, 20003], ["15550130429", 429, 20429]]) {
  test(`error ${code} is the SDK's own`, async () => {
    await assert.rejects(send(to), (error) => {
      assert.ok(error instanceof twilio.RestException, error);
      assert.deepEqual([error.status, error.code], [status, code]);
      return true;
    });
    const seen = await lastMessage(`/2010-04-01/Accounts/${ACCOUNT_SID}/Messages.json`);
    assert.deepEqual([seen.status, seen.scheme, seen.token], [status, "basic", KEY_FINGERPRINT]);
  });
}
