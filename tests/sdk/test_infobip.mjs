// @infobip-api/sdk, through Keyside. The SDK has no credential, only the address of the sidecar.
import assert from "node:assert/strict";
import { AuthType, Infobip } from "@infobip-api/sdk";

import { assertKeyOf, behavioursOf, RECIPIENT, sent, testRefusals } from "./behaviours.mjs";

const { KEYSIDE_URL, SENDER } = process.env;
const TEXT = "Ünïcode and a 🚀";

const { whatsapp } = new Infobip({ baseUrl: KEYSIDE_URL, apiKey: "none", authType: AuthType.ApiKey }).channels;
const message = (to, from) => ({ type: "text", from, to, content: { text: TEXT } });
const shows = behavioursOf("@infobip-api/sdk");

// This SDK does not throw: it returns an error in the place of an answer.
async function answerTo(request) {
  const answer = await request;
  if (answer instanceof Error) throw answer;
  return answer;
}
const send = (to, from) => answerTo(whatsapp.send(message(to, from)));

shows("send", "a message is sent", async () => {
  const { data } = await send(RECIPIENT, SENDER);
  assert.equal((await sent(data.messageId)).content.text, TEXT);
});

shows("media out", "a picture is sent by its URL", async () => {
  const content = { mediaUrl: "https://example.com/cat.png" };
  const { data } = await answerTo(whatsapp.send({ type: "image", from: SENDER, to: RECIPIENT, content }));
  assert.deepEqual((await sent(data.messageId)).content, content);
});

shows("media in", "media of a received message is described, and its bytes come", async () => {
  const path = `/whatsapp/1/senders/${SENDER}/media/1`;
  const { headers } = await answerTo(whatsapp.media.metadata(SENDER, "1"));
  assert.equal(headers["content-type"], "image/png");
  await assertKeyOf("HEAD", path);
  const { data } = await answerTo(whatsapp.media.download(SENDER, "1"));
  let bytes = "";
  for await (const part of data) bytes += part;
  assert.equal(bytes, "sample");
  await assertKeyOf("GET", path);
});

shows("read", "a message is marked as read", async () => {
  assert.equal((await answerTo(whatsapp.markAsRead(SENDER, "1"))).status, 200);
  await assertKeyOf("POST", `/whatsapp/1/senders/${SENDER}/message/1/read`);
});

testRefusals("@infobip-api/sdk", send, (error) => {
  assert.ok(error.isAxiosError, error);
  return { status: error.response.status, words: error.response.data.requestError?.serviceException.text };
});
