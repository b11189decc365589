// @vonage/messages and @vonage/media, through Keyside. The SDKs have no credential, only the address of the sidecar.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { Auth } from "@vonage/auth";
import { Media } from "@vonage/media";
import { Messages, WhatsAppImage, WhatsAppText } from "@vonage/messages";
import { VetchError } from "@vonage/vetch";

import { assertKeyOf, behavioursOf, RECIPIENT, sent, testRefusals } from "./behaviours.mjs";

const { KEYSIDE_URL, SENDER } = process.env;
const TEXT = "Ünïcode and a 🚀";

const messages = new Messages(new Auth({ apiKey: "none", apiSecret: "none" }), { apiHost: KEYSIDE_URL });
const send = (to, from) => messages.send(new WhatsAppText({ from, to, text: TEXT }));
const shows = behavioursOf("@vonage/messages");

shows("send", "a message is sent", async () => {
  const { messageUUID } = await send(RECIPIENT, SENDER);
  assert.equal((await sent(messageUUID)).text, TEXT);
});

shows("media out", "a picture is sent by its URL", async () => {
  const image = { url: "https://example.com/cat.png" };
  const { messageUUID } = await messages.send(new WhatsAppImage({ from: SENDER, to: RECIPIENT, image }));
  assert.deepEqual((await sent(messageUUID)).image, image);
});

shows("media in", "media of a received message is described, and its bytes come", async () => {
  // This SDK signs a token itself, with any RSA key.
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const pem = privateKey.export({ type: "pkcs8", format: "pem" });
  const media = new Media(new Auth({ applicationId: "none", privateKey: pem }), { apiHost: KEYSIDE_URL });
  assert.equal((await media.getMediaItem("1")).mimeType, "image/png");
  await assertKeyOf("GET", "/v3/media/1/info");
  // The `url` of an event, with the scheme and host of the sidecar.
  const answer = await fetch(`${KEYSIDE_URL}/v3/media/1`);
  assert.equal(await answer.text(), "sample");
  await assertKeyOf("GET", "/v3/media/1");
});

shows("read", "a message is marked as read", async () => {
  assert.ok(await messages.updateMessage("1", "read"));
  await assertKeyOf("PATCH", "/v1/messages/1");
});

testRefusals("@vonage/messages", send, async (error) => {
  assert.ok(error instanceof VetchError, error);
  return { status: error.response.status, words: (await error.response.json()).title };
});
