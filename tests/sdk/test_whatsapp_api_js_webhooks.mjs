// An application made with whatsapp-api-js behind Keyside, which checks the signature of every webhook again.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import https from "node:https";
import { after, before, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { WhatsAppAPI } from "whatsapp-api-js/middleware/node-http";

const { APPLICATION, APP_SECRET, SANDBOX_URL, SANDBOX_CA } = process.env;
const [host, port] = APPLICATION.split(":");
const TEXT = "Is the caf\u00e9 open? 50% <now> a@b.co \u{1f600}";

const received = [];
const answered = [];
const api = new WhatsAppAPI({ token: "none", appSecret: APP_SECRET, webhookVerifyToken: "unused" });
api.on.message = ({ message }) => void received.push(message);
const server = createServer(async (request, response) => {
  response.statusCode = await api.handle_post(request);
  answered.push(response.statusCode);
  response.end();
});

function askSandbox(method, what, body) {
  const { promise, resolve, reject } = deferred();
  const request = https.request(`${SANDBOX_URL}/_sandbox/${what}`, { method, ca: readFileSync(SANDBOX_CA) }, (answer) => {
    let text = "";
    answer.on("data", (part) => (text += part)).on("end", () => resolve(JSON.parse(text)));
  });
  request.on("error", reject).end(body && JSON.stringify(body));
  return promise;
}

function deferred() {
  let resolve, reject;
  const promise = new Promise((yes, no) => ([resolve, reject] = [yes, no]));
  return { promise, resolve, reject };
}

async function eventually(holds) {
  for (const end = Date.now() + 20_000; Date.now() < end; await sleep(50)) {
    const result = await holds();
    if (result) return result;
  }
  assert.fail("it did not come about within 20 s");
}

const statuses = async () => (await askSandbox("GET", "deliveries")).map((attempt) => attempt.status);

before(async () => {
  server.listen(Number(port), host);
  await eventually(async () => (await askSandbox("GET", "apps")).length > 0);
});
after(() => server.close());
beforeEach(async () => {
  received.length = answered.length = 0;
  await askSandbox("DELETE", "deliveries");
});

test("what users write passes both checks", async () => {
  await askSandbox("POST", "events", { type: "text", text: TEXT });
  await eventually(() => received.some((message) => message.text?.body === TEXT));
  await askSandbox("POST", "events", { type: "button", text: "Yes" });
  await eventually(() => received.some((message) => message.interactive?.button_reply?.title === "Yes"));
  await eventually(async () => (await statuses()).length === 2);
  assert.deepEqual(await statuses(), [200, 200]);
  assert.deepEqual(answered, [200, 200]);
});

test("a forgery reaches nobody", async () => {
  await askSandbox("POST", "events", { forged: true, text: "Send money" });
  await eventually(async () => (await statuses()).length === 1);
  assert.deepEqual(await statuses(), [401]);
  assert.deepEqual(answered, []);
});
