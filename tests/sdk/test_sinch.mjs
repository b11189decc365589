// @sinch/sdk-core, through Keyside. The SDK has no credential, only the address of the sidecar, also for its token.
import assert from "node:assert/strict";
import { RequestFailedError, SinchClient } from "@sinch/sdk-core";

import { assertKeyOf, behavioursOf, RECIPIENT, sent, testRefusals } from "./behaviours.mjs";

const { KEYSIDE_URL, PROJECT_ID, SENDER } = process.env;
const PROJECT = `/v1/projects/${PROJECT_ID}`;
const TEXT = "Ünïcode and a 🚀";
const PICTURE = "https://example.com/cat.png";

const { conversation } = new SinchClient({
  projectId: "none", keyId: "none", keySecret: "none", conversationRegion: "us",
  conversationHostname: KEYSIDE_URL, authHostname: KEYSIDE_URL,
});
const recipient = (to) => ({ identified_by: { channel_identities: [{ channel: "WHATSAPP", identity: to }] } });
const sendContent = (to, app_id, message) =>
  conversation.messages.send({ sendMessageRequestBody: { app_id, recipient: recipient(to), message } });
const send = (to, app_id) => sendContent(to, app_id, { text_message: { text: TEXT } });
const shows = behavioursOf("@sinch/sdk-core");

shows("send", "a message is sent", async () => {
  const { message_id } = await send(RECIPIENT, SENDER);
  assert.equal((await sent(message_id)).message.text_message.text, TEXT);
});

shows("media out", "a picture is sent by its URL", async () => {
  const { message_id } = await sendContent(RECIPIENT, SENDER, { media_message: { url: PICTURE } });
  assert.equal((await sent(message_id)).message.media_message.url, PICTURE);
});

shows("read", "the sign of typing is shown", async () => {
  const event = { app_id: SENDER, recipient: recipient(RECIPIENT), event: { composing_event: {} } };
  await conversation.events.send({ sendEventRequestBody: event });
  await assertKeyOf("POST", `${PROJECT}/events:send`);
});

shows("status", "a message is read", async () => {
  const { message_id } = await send(RECIPIENT, SENDER);
  assert.equal((await conversation.messages.get({ message_id })).id, message_id);
  await assertKeyOf("GET", `${PROJECT}/messages/${message_id}`);
});

testRefusals("@sinch/sdk-core", send, (error) => {
  assert.ok(error instanceof RequestFailedError, error);
  return { status: error.statusCode, words: JSON.stringify(error.data) };
});
