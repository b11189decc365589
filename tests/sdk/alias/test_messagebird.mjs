// messagebird for Node in alias mode: its address is a constant.
import assert from "node:assert/strict";
import messagebird from "messagebird";

import { assertKeyOf, behavioursOf, RECIPIENT, sent, testRefusals } from "../behaviours.mjs";

const { SENDER } = process.env;
const TEXT = "Ünïcode and a 🚀";

const { conversations } = messagebird.initClient("none");
const answerTo = (method, ...parameters) =>
  new Promise((resolve, reject) => {
    conversations[method](...parameters, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
const send = (to, from) => answerTo("send", { from, to, type: "text", content: { text: TEXT } });
const shows = behavioursOf("messagebird (Node)");

shows("send", "a message is sent, and a conversation started and continued", async () => {
  assert.equal((await sent((await send(RECIPIENT, SENDER)).id)).content.text, TEXT);
  const message = { channelId: SENDER, type: "text", content: { text: TEXT } };
  const conversation = await answerTo("start", { ...message, to: RECIPIENT });
  const reply = await answerTo("reply", conversation.id, message);
  assert.equal((await sent(reply.id)).content.text, TEXT);
});

shows("media out", "a picture is sent by its URL", async () => {
  const content = { image: { url: "https://example.com/cat.png" } };
  const { id } = await answerTo("send", { from: SENDER, to: RECIPIENT, type: "image", content });
  assert.deepEqual((await sent(id)).content, content);
});

shows("status", "the state of a message is read", async () => {
  assert.equal((await answerTo("readMessage", "1")).status, "delivered");
  await assertKeyOf("GET", "/v1/messages/1");
});

// An answer without `errors` is a success for this SDK, whatever its status.
testRefusals("messagebird (Node)", send, (error) => {
  assert.match(error.message, /^api error\(s\): /);
  return { status: error.statusCode, words: error.message };
});
