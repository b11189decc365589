// @vonage/messages in alias mode: a plain client, without another host.
import assert from "node:assert/strict";
import test from "node:test";
import { Auth } from "@vonage/auth";
import { Messages, WhatsAppText } from "@vonage/messages";

import { askSandbox } from "../sandbox.mjs";

const messages = new Messages(new Auth({ apiKey: "none", apiSecret: "none" }));
const send = (to) => messages.send(new WhatsAppText({ from: "15550001111", to, text: "Hello" }));

test("a message is sent with a token that the true key signed", async () => {
  const { messageUUID } = await send("15550001234");
  const sent = (await askSandbox("GET", "sends")).find((one) => one.wamid === messageUUID);
  assert.deepEqual([sent.body.text, sent.token], ["Hello", process.env.KEY_FINGERPRINT]);
});

test("an error of the provider is the SDK's own", async () => {
  const error = await send("15550130429").then(assert.fail, (error) => error);
  assert.equal(error.response.status, 429);
});
