// whatsapp-api-js, sending through Keyside. The SDK has no credential, only the address of the sidecar.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import test from "node:test";
import { WhatsAppAPI } from "whatsapp-api-js";
import { BodyComponent, BodyParameter, Image, Template, Text } from "whatsapp-api-js/messages";

import { behavioursOf, BURST, BUSY } from "./behaviours.mjs";
import { askSandbox } from "./sandbox.mjs";

const KEYSIDE = process.env.KEYSIDE_URL;
const SENDER = "106540352242922";
const ACCOUNT = "102290129340398";
const RECIPIENT = { phone: "15550001234" };

const provider = "https://graph.facebook.com";
const api = new WhatsAppAPI({
    token: "none",
    v: "v23.0",
    secure: false,
    // The hook of the SDK for fetch puts the sidecar in the place of the provider.
    ponyfill: { fetch: (url, options) => fetch(String(url).replace(provider, KEYSIDE), options) },
});

const shows = behavioursOf("whatsapp-api-js");

async function accepted(response) {
    assert.ok(response.messages, JSON.stringify(response));
    const { id } = response.messages[0];
    return (await askSandbox("GET", "sends")).find((send) => send.wamid === id).body;
}

shows("send", "a text is sent", async () => {
    const body = await accepted(await api.sendMessage(SENDER, RECIPIENT, new Text("Ünïcode and a 🚀")));
    assert.equal(body.type, "text");
    assert.equal(body.text.body, "Ünïcode and a 🚀");
});

test("a template is sent", async () => {
    const template = new Template(
        "order_confirmation",
        "en_US",
        new BodyComponent(new BodyParameter("Jessica"), new BodyParameter("SKBUP2-4CPIG9")),
    );
    const body = await accepted(await api.sendMessage(SENDER, RECIPIENT, template));
    assert.equal(body.template.name, "order_confirmation");
});

shows("read", "a message is marked as read", async () => {
    assert.deepEqual(await api.markAsRead(SENDER, "wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQ="), { success: true });
});

const original = randomBytes(3 << 20);
let picture;

shows("media out", "media is uploaded and sent", async () => {
    const form = new FormData();
    form.set("file", new Blob([original], { type: "image/jpeg" }), "photo.jpg");
    picture = (await api.uploadMedia(SENDER, form)).id;
    const body = await accepted(await api.sendMessage(SENDER, RECIPIENT, new Image(picture, true)));
    assert.equal(body.image.id, picture);
});

shows("media in", "media comes back byte by byte", async () => {
    const found = await api.retrieveMedia(picture);
    assert.ok(found.url.startsWith(`${KEYSIDE}/`), found.url);
    assert.equal(found.sha256, createHash("sha256").update(original).digest("hex"));
    const answer = await api.fetchMedia(found.url);
    assert.ok(Buffer.from(await answer.arrayBuffer()).equals(original));
});

test("every page of templates is reached", async () => {
    // By id: a template has the same name in each of its languages.
    const ids = [];
    let pages = 0;
    let url = `${provider}/${api.v}/${ACCOUNT}/message_templates?limit=2`;
    for (; url; pages++) {
        const page = await (await api.$$apiFetch$$(url)).json();
        ids.push(...page.data.map((template) => template.id));
        url = page.paging?.next;
    }
    assert.ok(pages > 1);
    assert.equal(new Set(ids).size, ids.length, "no page came twice");
});

// The recipients for which the sandbox answers with this error code of the provider.
for (const [behaviour, phone, code] of [
    ["refused key", "15550000190", 190],
    ["throttle", "15550130429", 130429],
    ["throttle", "15550131056", 131056],
]) {
    shows(behaviour, `the provider's error ${code} keeps its meaning`, async () => {
        const response = await api.sendMessage(SENDER, { phone }, new Text("refused"));
        assert.equal(response.error.code, code);
    });
}

shows("own 429", "a limit of Keyside reads like the limit of the provider", async () => {
    for (let count = 0; count < BURST; count++) await accepted(await api.sendMessage(SENDER, { phone: BUSY }, new Text("accepted")));
    const response = await api.sendMessage(SENDER, { phone: BUSY }, new Text("refused"));
    assert.deepEqual([response.error.type, response.error.code], ["KeysideError", 131056]);
});

shows("own 403", "a refusal of Keyside reads like one of the provider", async () => {
    const response = await api.createQR(SENDER, "hello");
    assert.equal(response.error.type, "KeysideError");
    assert.match(response.error.message, /qr_codes/);
});
