// twilio for Node, through Keyside. The SDK has no credential, only the address of the sidecar.
import assert from "node:assert/strict";
import twilio from "twilio";

import { assertKeyOf, behavioursOf, RECIPIENT, sent, testRefusals } from "./behaviours.mjs";

const { KEYSIDE_URL, ACCOUNT_SID, SENDER } = process.env;
const ACCOUNT = `/2010-04-01/Accounts/${ACCOUNT_SID}`;
const TEXT = "Ünïcode and a 🚀";

class ThroughKeyside extends twilio.RequestClient {
  request(options) {
    return super.request({ ...options, uri: options.uri.replace(/^https:\/\/\w+\.twilio\.com/, KEYSIDE_URL) });
  }
}

// The hook of the SDK for a custom client puts the sidecar in the place of the provider.
const client = twilio("ACffffffffffffffffffffffffffffffff", "none", { httpClient: new ThroughKeyside() });
const send = (to, sender, more) =>
  client.messages.create({ from: `whatsapp:+${sender}`, to: `whatsapp:+${to}`, body: TEXT, ...more });
const shows = behavioursOf("twilio (Node)");

shows("send", "a message is sent", async () => {
  const message = await send(RECIPIENT, SENDER);
  assert.equal((await sent(message.sid)).Body, TEXT);
});

shows("media out", "a picture is sent by its URL", async () => {
  const message = await send(RECIPIENT, SENDER, { mediaUrl: ["https://example.com/cat.png"] });
  assert.equal((await sent(message.sid)).MediaUrl, "https://example.com/cat.png");
});

shows("media in", "media of a received message is described, and its bytes are at a signed URL", async () => {
  const [media] = await client.messages("MM0").media.list();
  assert.equal((await client.messages("MM0").media(media.sid).fetch()).contentType, "image/png");
  // The MediaUrl0 of an event, with the scheme and host of the sidecar.
  const path = `${ACCOUNT}/Messages/MM0/Media/${media.sid}`;
  const answer = await fetch(KEYSIDE_URL + path, { redirect: "manual" });
  assert.equal(answer.status, 307);
  assert.match(answer.headers.get("location"), /^https:\/\/mms\.twiliocdn\.com\//);
  await assertKeyOf("GET", path);
});

shows("read", "the sign of typing is shown", async () => {
  await client.messaging.v2.typingIndicator.create({ channel: "whatsapp", messageId: "SM0" });
  await assertKeyOf("POST", "/v2/Indicators/Typing.json");
});

shows("status", "the state of a message is read", async () => {
  assert.equal((await client.messages("SM0").fetch()).status, "delivered");
  await assertKeyOf("GET", `${ACCOUNT}/Messages/SM0.json`);
});

testRefusals("twilio (Node)", send, (error) => {
  assert.ok(error instanceof twilio.RestException, error);
  assert.equal(error.code, { 401: 20003, 429: 20429 }[error.status] ?? error.status);
  return { status: error.status, words: error.message };
});
