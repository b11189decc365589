// Uploads as the HTTP libraries of Node write them: each ends its body, and quotes names, in a way of its own.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import test from "node:test";
import { Readable } from "node:stream";
import axios16 from "axios-1.6";
import axios17 from "axios-1.7";
import axios from "axios";
import { FormDataEncoder } from "form-data-encoder";
import got from "got";
import superagent from "superagent";

const { KEYSIDE_URL } = process.env;
const UPLOADS = `${KEYSIDE_URL}/v23.0/106540352242922/media`;
const original = randomBytes(100_000);

function form() {
  const form = new FormData();
  form.append("messaging_product", "whatsapp");
  form.append("file", new Blob([original], { type: "image/png" }), "photo.png");
  return form;
}

const byAxios = async (library) => (await library.post(UPLOADS, form())).data;
const encoded = async () => {
  const encoder = new FormDataEncoder(form());
  const request = { method: "POST", headers: encoder.headers, body: Readable.from(encoder), duplex: "half" };
  return (await fetch(UPLOADS, request)).json();
};
const bySuperagent = async () => {
  const request = superagent.post(UPLOADS).field("messaging_product", "whatsapp");
  return (await request.attach("file", original, { filename: "photo.png", contentType: "image/png" })).body;
};

for (const [library, upload] of [
  ["axios 1.6", () => byAxios(axios16)],
  ["axios 1.7", () => byAxios(axios17)],
  ["axios", () => byAxios(axios)],
  ["got", () => got.post(UPLOADS, { body: form() }).json()],
  ["form-data-encoder", encoded],
  ["fetch", async () => (await fetch(UPLOADS, { method: "POST", body: form() })).json()],
  ["superagent", bySuperagent],
]) {
  test(`${library} uploads a picture, which comes back whole`, async () => {
    const { id } = await upload();
    const { url } = await (await fetch(`${KEYSIDE_URL}/v23.0/${id}`)).json();
    const picture = Buffer.from(await (await fetch(url)).arrayBuffer());
    assert.ok(picture.equals(original));
  });
}
