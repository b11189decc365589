// twilio for Node in alias mode: a plain client, without the hook for another HTTP client.
import assert from "node:assert/strict";
import test from "node:test";
import twilio from "twilio";

import { askSandbox } from "../sandbox.mjs";

const client = twilio(process.env.ACCOUNT_SID, "none");
const send = (to) => client.messages.create({ from: "whatsapp:+15550001111", to: `whatsapp:+${to}`, body: "Hello" });

test("a message is sent with the true key", async () => {
  const message = await send("15550001234");
  const sent = (await askSandbox("GET", "sends")).find((one) => one.wamid === message.sid);
  assert.deepEqual([sent.body.Body, sent.token], ["Hello", process.env.KEY_FINGERPRINT]);
});

test("an error of the provider is the SDK's own", async () => {
  await assert.rejects(send("15550130429"), (error) => error instanceof twilio.RestException && error.code === 20429);
});
