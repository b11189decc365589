// @kapso/whatsapp-cloud-api, through Keyside. The SDK has no credential, only the address of the sidecar.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import test from "node:test";
import { WhatsAppClient } from "@kapso/whatsapp-cloud-api";

import { behavioursOf, BURST, BUSY, RECIPIENT } from "./behaviours.mjs";
import { askSandbox } from "./sandbox.mjs";

const phoneNumberId = "106540352242922";
const businessAccountId = "102290129340398";
const shows = behavioursOf("@kapso/whatsapp-cloud-api");
const client = new WhatsAppClient({ baseUrl: process.env.KEYSIDE_URL, accessToken: "none", graphVersion: "v24.0" });

const send = (to) => client.messages.sendText({ phoneNumberId, to, body: "Ünïcode and a 🚀" });

async function accepted(answer) {
  const { messages } = await answer;
  return (await askSandbox("GET", "sends")).find((one) => one.wamid === messages[0].id).body;
}

async function refusal(answer) {
  const error = await answer.then(() => assert.fail("accepted"), (error) => error);
  assert.equal(error.name, "GraphApiError");
  return error;
}

shows("send", "a text is sent", async () => {
  assert.equal((await accepted(send(RECIPIENT))).text.body, "Ünïcode and a 🚀");
});

test("a template is made, listed, read and deleted", async () => {
  const text = { name: "kapso_order", language: "en_US", category: "UTILITY", components: [{ type: "BODY", text: "Hello" }] };
  const { id } = await client.templates.create({ businessAccountId, ...text });
  const { data } = await client.templates.list({ businessAccountId, name: text.name });
  assert.deepEqual(data.map((one) => one.id), [id]);
  const read = await client.templates.get({ businessAccountId, templateId: id });
  assert.equal(read.id, id);
  assert.equal((await client.templates.delete({ businessAccountId, name: text.name })).success, true);
});

test("the settings of a number are read as they were set", async () => {
  const { settings } = client.phoneNumbers;
  await settings.update({ phoneNumberId, calling: { status: "ENABLED" } });
  assert.equal((await settings.get({ phoneNumberId })).calling.status, "ENABLED");
});

shows("read", "a message is marked as read, with the sign of typing", async () => {
  const read = { phoneNumberId, messageId: "wamid.HBgL", typingIndicator: { type: "text" } };
  assert.equal((await client.messages.markRead(read)).success, true);
});

const original = randomBytes(1 << 20);

shows("media out", "media is uploaded and sent", async () => {
  const { id } = await client.media.upload({ phoneNumberId, type: "image/png", file: new Blob([original]), fileName: "a.png" });
  const body = await accepted(client.messages.sendImage({ phoneNumberId, to: RECIPIENT, image: { id } }));
  assert.equal(body.image.id, id);
});

shows("media in", "media comes back byte by byte", async () => {
  const { id } = await client.media.upload({ phoneNumberId, type: "image/png", file: new Blob([original]), fileName: "a.png" });
  const found = await client.media.download({ mediaId: id, phoneNumberId });
  assert.ok(Buffer.from(found).equals(original));
});

for (const [behaviour, to, code] of [["refused key", "15550000190", 190], ["throttle", "15550130429", 130429]]) {
  shows(behaviour, `the provider's error ${code} keeps its meaning`, async () => {
    assert.equal((await refusal(send(to))).code, code);
  });
}

shows("own 429", "a limit of Keyside reads like the limit of the provider", async () => {
  for (let count = 0; count < BURST; count++) await accepted(send(BUSY));
  const error = await refusal(send(BUSY));
  assert.deepEqual([error.httpStatus, error.code], [429, 131056]);
});

shows("own 403", "a refusal of Keyside reads like one of the provider", async () => {
  const error = await refusal(client.phoneNumbers.businessProfile.get({ phoneNumberId }));
  assert.equal(error.httpStatus, 403);
  assert.match(error.message, /profile/);
});
