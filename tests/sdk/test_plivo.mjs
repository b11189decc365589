// plivo for Node, through Keyside. The SDK has no credential, only the address of the sidecar.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Client } from "plivo";

import { assertKeyOf, behavioursOf, RECIPIENT, sent, testRefusals } from "./behaviours.mjs";

const { KEYSIDE_URL, AUTH_ID, SENDER } = process.env;
const ACCOUNT = `/v1/Account/${AUTH_ID}`;
const TEXT = "Ünïcode and a 🚀";
const PICTURE = "https://example.com/cat.png";

const client = new Client("none", "none", { url: `${KEYSIDE_URL}/v1/Account/none` });
const send = (to, sender, more) => client.messages.create(sender, to, TEXT, { type: "whatsapp", ...more });
const shows = behavioursOf("plivo (Node)");

shows("send", "a message is sent", async () => {
  const { messageUuid } = await send(RECIPIENT, SENDER);
  assert.equal((await sent(messageUuid[0])).text, TEXT);
});

shows("media out", "a picture is stored, and sent by its URL", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "keyside-plivo-"));
  const file = path.join(folder, "cat.png");
  writeFileSync(file, "sample");
  const stored = await client.media.upload([file]).finally(() => rmSync(folder, { recursive: true }));
  assert.equal(stored.objects[0].mediaId, "sample");
  await assertKeyOf("POST", `${ACCOUNT}/Media/`);
  const { messageUuid } = await send(RECIPIENT, SENDER, { media_urls: [PICTURE] });
  assert.deepEqual((await sent(messageUuid[0])).media_urls, [PICTURE]);
});

shows("media in", "media of a received message is described, with a URL that needs no key", async () => {
  const { objects } = await client.messages.listMedia("1");
  assert.equal(objects[0].mediaUrl, "https://media.plivo.com/sample");
  await assertKeyOf("GET", `${ACCOUNT}/Message/1/Media/`);
});

shows("status", "the state of a message is read", async () => {
  assert.equal((await client.messages.get("1")).messageState, "delivered");
  await assertKeyOf("GET", `${ACCOUNT}/Message/1/`);
});

testRefusals("plivo (Node)", send, (error) => {
  assert.ok(error instanceof Error, error);
  // For statuses without an error of its own, such as 429, this SDK hands no more on than the words of its HTTP client.
  if (error.status === undefined) return { status: Number(/status code (\d+)/.exec(error.message)?.[1]) };
  return { status: error.status, words: error.message };
});
