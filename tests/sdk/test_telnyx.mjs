// telnyx for Node, through Keyside. The SDK has no credential, only the address of the sidecar.
import assert from "node:assert/strict";
import Telnyx from "telnyx";

import { assertKeyOf, behavioursOf, RECIPIENT, sent, testRefusals } from "./behaviours.mjs";

const { KEYSIDE_URL, SENDER } = process.env;
const TEXT = "Ünïcode and a 🚀";
const PICTURE = "https://example.com/cat.png";

// Without retries: this SDK waits as long as an answer says, and sends again, twice by default.
const client = new Telnyx({ baseURL: `${KEYSIDE_URL}/v2`, apiKey: "none", maxRetries: 0 });
const sendContent = (to, sender, content) =>
  client.messages.whatsapp({ from: `+${sender}`, to: `+${to}`, whatsapp_message: content });
const send = (to, sender) => sendContent(to, sender, { type: "text", text: { body: TEXT } });
const shows = behavioursOf("telnyx (Node)");

shows("send", "a message is sent", async () => {
  const { data } = await send(RECIPIENT, SENDER);
  assert.equal((await sent(data.id)).whatsapp_message.text.body, TEXT);
});

shows("media out", "a picture is stored, and sent by its URL", async () => {
  const { data: media } = await client.media.upload({ media_url: PICTURE });
  await assertKeyOf("POST", "/v2/media");
  assert.equal(await (await client.media.download(media.media_name)).text(), "sample");
  const { data } = await sendContent(RECIPIENT, SENDER, { type: "image", image: { link: PICTURE } });
  assert.equal((await sent(data.id)).whatsapp_message.image.link, PICTURE);
});

shows("status", "the state of a message is read", async () => {
  assert.equal((await client.messages.retrieve("1")).data.to[0].status, "delivered");
  await assertKeyOf("GET", "/v2/messages/1");
});

testRefusals("telnyx (Node)", send, (error) => {
  assert.ok(error instanceof Telnyx.APIError, error);
  return { status: error.status, words: error.message };
});
