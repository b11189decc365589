// messagebird for Node in alias mode: its address is a constant.
import assert from "node:assert/strict";
import test from "node:test";
import messagebird from "messagebird";

import { askSandbox } from "../sandbox.mjs";

const create = messagebird.initClient ?? messagebird.default ?? messagebird;
const client = create("none");
const send = (to) =>
  new Promise((resolve, reject) => {
    const message = { from: "15550001111", to, type: "text", content: { text: "Hello" } };
    client.conversations.send(message, (error, answer) => (error ? reject(error) : resolve(answer)));
  });

test("a message is sent with the true key", async () => {
  const answer = await send("15550001234");
  const sent = (await askSandbox("GET", "sends")).find((one) => one.wamid === answer.id);
  assert.deepEqual([sent.body.content.text, sent.token], ["Hello", process.env.KEY_FINGERPRINT]);
});

test("an error of the provider is the SDK's own", async () => {
  await assert.rejects(send("15550130429"), (error) => error.errors?.length > 0 || error.statusCode === 429);
});
