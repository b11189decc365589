// whatsapp-api-js, sending through Keyside. The SDK has no credential, only the address of the sidecar.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import https from "node:https";
import test from "node:test";
import { WhatsAppAPI } from "whatsapp-api-js";
import { BodyComponent, BodyParameter, Template, Text } from "whatsapp-api-js/messages";

const KEYSIDE = process.env.KEYSIDE_URL;
const SANDBOX = process.env.SANDBOX_URL;
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

async function acceptedSends() {
    const ca = readFileSync(process.env.SANDBOX_CA);
    const answer = await new Promise((resolve, reject) => https.get(`${SANDBOX}/_sandbox/sends`, { ca }, resolve).on("error", reject));
    let text = "";
    for await (const chunk of answer) text += chunk;
    return JSON.parse(text);
}

async function accepted(response) {
    assert.ok(response.messages, JSON.stringify(response));
    const { id } = response.messages[0];
    return (await acceptedSends()).find((send) => send.wamid === id).body;
}

test("a text is sent", async () => {
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

test("a message is marked as read", async () => {
    assert.deepEqual(await api.markAsRead(SENDER, "wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQ="), { success: true });
});

test("media comes back byte by byte", async () => {
    const original = randomBytes(3 << 20);
    const form = new FormData();
    form.set("file", new Blob([original], { type: "image/jpeg" }), "photo.jpg");
    const { id } = await api.uploadMedia(SENDER, form);
    const found = await api.retrieveMedia(id);
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
for (const [phone, code] of [["15550000190", 190], ["15550130429", 130429], ["15550131056", 131056]]) {
    test(`the provider's error ${code} keeps its meaning`, async () => {
        const response = await api.sendMessage(SENDER, { phone }, new Text("refused"));
        assert.equal(response.error.code, code);
    });
}

test("a refusal of Keyside reads like one of the provider", async () => {
    const response = await api.createQR(SENDER, "hello");
    assert.equal(response.error.type, "KeysideError");
    assert.match(response.error.message, /qr_codes/);
});
