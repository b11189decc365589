// @great-detail/whatsapp, through Keyside. The SDK has no credential, only the address of the sidecar.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import test from "node:test";
import { Client } from "@great-detail/whatsapp";

import { behavioursOf, BURST, BUSY, RECIPIENT } from "./behaviours.mjs";
import { askSandbox } from "./sandbox.mjs";

const phoneNumberID = "106540352242922";
const ACCOUNT = "102290129340398";
const shows = behavioursOf("@great-detail/whatsapp");

// Without a repetition of the SDK's own, each refusal is seen.
const request = { headers: { Authorization: "Bearer none" }, retry: 0 };
const { media, message, phoneNumbers, template } = new Client({ baseUrl: process.env.KEYSIDE_URL, request });

const send = (to, more = { type: "text", text: { body: "Ünïcode and a 🚀" } }) => message.createMessage({ phoneNumberID, to, ...more });

async function accepted(answer) {
  const { messages } = await (await answer).json();
  return (await askSandbox("GET", "sends")).find((one) => one.wamid === messages[0].id).body;
}

async function refusal(answer) {
  const error = await answer.then(() => assert.fail("accepted"), (error) => error);
  assert.equal(error.name, "HTTPError");
  const { error: told } = error.data ?? (await error.response.json());
  return [error.response.status, told];
}

shows("send", "a text is sent", async () => {
  assert.equal((await accepted(send(RECIPIENT))).text.body, "Ünïcode and a 🚀");
});

test("a template is sent, made, edited and deleted", async () => {
  const order = { name: "order", language: { code: "en_US" } };
  assert.deepEqual((await accepted(send(RECIPIENT, { type: "template", template: order }))).template, order);
  const text = { name: "great_detail", language: "en_US", category: "UTILITY", components: [{ type: "BODY", text: "Hello" }] };
  const { id } = await (await template.create(ACCOUNT, text)).json();
  const components = [{ type: "BODY", text: "Bye" }];
  await template.update(id, { components });
  assert.deepEqual((await (await template.get(id, { fields: ["components"] })).json()).components, components);
  assert.deepEqual(await (await template.delete(ACCOUNT, { name: text.name })).json(), { success: true });
});

test("the display name of a number is changed", async () => {
  await phoneNumbers.updatePhoneNumber({ phoneNumberID, new_display_name: "Shop" });
  const fields = ["new_display_name", ["webhook_configuration", ["application"]]];
  assert.equal((await (await phoneNumbers.getPhoneNumber({ phoneNumberID, fields })).json()).new_display_name, "Shop");
});

shows("read", "a message is marked as read, with the sign of typing", async () => {
  const read = { status: "read", message_id: "wamid.HBgL", typing_indicator: { type: "text" } };
  assert.deepEqual(await (await message.createStatus({ phoneNumberID, ...read })).json(), { success: true });
});

const original = randomBytes(1 << 20);

async function uploaded() {
  const file = new Blob([original], { type: "image/png" });
  return (await (await media.upload({ phoneNumberID, file, filename: "a.png", mimeType: "image/png" })).json()).id;
}

shows("media out", "media is uploaded and sent", async () => {
  const id = await uploaded();
  assert.equal((await accepted(send(RECIPIENT, { type: "image", image: { id } }))).image.id, id);
});

shows("media in", "media comes back byte by byte", async () => {
  const { url, sha256 } = await (await media.getURL({ mediaID: await uploaded(), phoneNumberID })).json();
  assert.ok(url.startsWith(`${process.env.KEYSIDE_URL}/`), url);
  assert.equal(sha256, createHash("sha256").update(original).digest("hex"));
  assert.ok(Buffer.from(await (await media.download({ mediaURL: url })).arrayBuffer()).equals(original));
});

for (const [behaviour, to, status, code] of [
  ["refused key", "15550000190", 401, 190],
  ["throttle", "15550130429", 400, 130429],
]) {
  shows(behaviour, `the provider's error ${code} is the SDK's own`, async () => {
    const [seen, error] = await refusal(send(to));
    assert.deepEqual([seen, error.code], [status, code]);
  });
}

shows("own 429", "a limit of Keyside reads like the limit of the provider", async () => {
  for (let count = 0; count < BURST; count++) await accepted(send(BUSY));
  const [status, error] = await refusal(send(BUSY));
  assert.deepEqual([status, error.type, error.code], [429, "KeysideError", 131056]);
});

shows("own 403", "a refusal of Keyside reads like one of the provider", async () => {
  const { businessProfile } = new Client({ baseUrl: process.env.KEYSIDE_URL, request });
  const [status, error] = await refusal(businessProfile.getBusinessProfile({ phoneNumberID }));
  assert.deepEqual([status, error.type], [403, "KeysideError"]);
  assert.match(error.message, /profile/);
});
