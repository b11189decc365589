// @infobip-api/sdk, sending through Keyside. The SDK has no credential, only the address of the sidecar.
import assert from "node:assert/strict";
import test from "node:test";
import { AuthType, Infobip } from "@infobip-api/sdk";

import { askSandbox, lastMessage } from "./sandbox.mjs";

const { KEYSIDE_URL, KEY_FINGERPRINT } = process.env;

const infobip = new Infobip({ baseUrl: KEYSIDE_URL, apiKey: "none", authType: AuthType.ApiKey });
const send = (to) =>
  infobip.channels.whatsapp.send({ type: "text", from: "15550001111", to, content: { text: "Ünïcode and a 🚀" } });

test("a message is sent with the true key", async () => {
  const answer = await send("15550001234");
  assert.equal(answer.status, 200, answer);
  const sent = (await askSandbox("GET", "sends")).find((one) => one.wamid === answer.data.id);
  assert.equal(sent.body.content.text, "Ünïcode and a 🚀");
  assert.equal(sent.token, KEY_FINGERPRINT);
});

// The recipients for whom the provider refuses the key, and says that it is too much. This SDK does not throw: it returns the
// error of its HTTP client in the place of an answer.
for (const [to, status] of [["15550000190", 401], ["15550130429", 429]]) {
  test(`${status} is the SDK's own error`, async () => {
    const error = await send(to);
    assert.ok(error instanceof Error && error.isAxiosError, error);
    assert.equal(error.response.status, status);
    if (status === 429) assert.equal(error.response.data.errorCode, "E429");
    const seen = await lastMessage("/whatsapp/1/message/text");
    assert.deepEqual([seen.status, seen.scheme, seen.token], [status, "header", KEY_FINGERPRINT]);
  });
}
