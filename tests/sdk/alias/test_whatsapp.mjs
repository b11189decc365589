// Meta's own SDK for Node in alias mode.
import assert from "node:assert/strict";
import test from "node:test";

Object.assign(process.env, {
  // Elsewhere the SDK asks for its own tools of development.
  NODE_ENV: "production",
  WA_PHONE_NUMBER_ID: "106540352242922",
  WA_BUSINESS_ACCOUNT_ID: "102290129340398",
  CLOUD_API_ACCESS_TOKEN: "none",
  CLOUD_API_VERSION: "v23.0",
});
const { default: sdk } = await import("whatsapp");
const { askSandbox } = await import("../sandbox.mjs");

const whatsapp = new (sdk.default ?? sdk)();
const send = async (to) => {
  const answer = await whatsapp.messages.text({ body: "Ünïcode and a 🚀" }, to);
  return { status: answer.statusCode(), body: await answer.responseBodyToJSON() };
};

test("a message is sent", async () => {
  const { status, body } = await send(15550001234);
  assert.equal(status, 200);
  const sent = (await askSandbox("GET", "sends")).find((one) => one.wamid === body.messages[0].id);
  assert.equal(sent.body.text.body, "Ünïcode and a 🚀");
});

test("an error of the provider arrives unchanged", async () => {
  const { status, body } = await send(15550130429);
  assert.equal(status, 400);
  assert.equal(body.error.code, 130429);
});
