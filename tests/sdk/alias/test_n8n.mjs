// n8n's HTTP stack in alias mode: axios and form-data in the versions of n8n-workflow 2.41.0, with the requests of its node
// "WhatsApp Business Cloud", whose address is a constant.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import test from "node:test";
import axios from "axios";
import FormData from "form-data";

import { askSandbox } from "../sandbox.mjs";

const api = axios.create({ baseURL: "https://graph.facebook.com/v13.0", headers: { Authorization: "Bearer none" } });
const SENDER = "106540352242922";
const send = (to) =>
  api.post(`/${SENDER}/messages`, { messaging_product: "whatsapp", to, type: "text", text: { body: "Ünïcode and a 🚀" } });

test("a message is sent", async () => {
  const { data } = await send("15550001234");
  const sent = (await askSandbox("GET", "sends")).find((one) => one.wamid === data.messages[0].id);
  assert.equal(sent.body.text.body, "Ünïcode and a 🚀");
});

test("media goes up as a form and comes back from the provider's own host", async () => {
  const original = randomBytes(1 << 20);
  const form = new FormData();
  form.append("messaging_product", "whatsapp");
  form.append("file", original, { filename: "photo.jpg", contentType: "image/jpeg" });
  const { data: media } = await api.post(`/${SENDER}/media`, form, { headers: form.getHeaders() });
  const { data: found } = await api.get(`/${media.id}`);
  assert.ok(found.url.startsWith("https://lookaside.fbsbx.com/whatsapp_business/"), found.url);
  const { data: bytes } = await api.get(found.url, { responseType: "arraybuffer" });
  assert.deepEqual(Buffer.from(bytes), original);
});

test("an error of the provider is an error of axios", async () => {
  await assert.rejects(send("15550130429"), (error) => {
    assert.equal(error.response.data.error.code, 130429);
    return true;
  });
});
