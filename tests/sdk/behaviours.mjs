// Tests of one behaviour of an SDK each, for the table that table.py prints at the end.
import assert from "node:assert/strict";
import { appendFileSync } from "node:fs";
import test from "node:test";

import { askSandbox } from "./sandbox.mjs";

const { KEYSIDE_SDK_RESULTS, KEY_FINGERPRINT, SENDER, OTHER_SENDER } = process.env;

export const RECIPIENT = "15550001234";
const REFUSED = "15550000190"; // the provider refuses the key
const THROTTLED = "15550130429"; // the provider says that it is too much
export const BUSY = "15550001235"; // a recipient of this test alone
export const BURST = 10; // what the route allows for one recipient at once

// Returns a function for tests of the SDK. A test that passes fills a cell of the table.
export function behavioursOf(sdk) {
  return (behaviour, name, body) =>
    test(`${behaviour}: ${name}`, async () => {
      await body();
      if (KEYSIDE_SDK_RESULTS) appendFileSync(KEYSIDE_SDK_RESULTS, `${sdk}\t${behaviour}\n`);
    });
}

// Tests the refusals of a message, for a provider other than Meta. `send(to, sender)` sends. `told(error)` asserts that an error is
// the SDK's own, and returns the status that the SDK gives, and the words of the answer unless the SDK keeps them to itself.
export function testRefusals(sdk, send, told) {
  const shows = behavioursOf(sdk);
  const refusal = async (to, sender = SENDER) => {
    const error = await send(to, sender).then((answer) => assert.fail(`sent: ${JSON.stringify(answer)}`), (error) => error);
    return told(error);
  };
  for (const [behaviour, to, status] of [["refused key", REFUSED, 401], ["throttle", THROTTLED, 429]]) {
    shows(behaviour, `${status} of the provider is the SDK's own error`, async () => {
      assert.equal((await refusal(to)).status, status);
      const seen = (await askSandbox("GET", "requests")).findLast((request) => request.status === status);
      assert.equal(seen.token, KEY_FINGERPRINT);
    });
  }
  shows("own 429", "a limit of Keyside is the SDK's own error", async () => {
    const before = (await askSandbox("GET", "sends")).length;
    for (let count = 0; count < BURST; count++) await send(BUSY, SENDER);
    assertKeysideRefused(await refusal(BUSY), 429, /limit of this recipient/);
    assert.equal((await askSandbox("GET", "sends")).length, before + BURST);
  });
  shows("own 403", "a sender that the route has not is the SDK's own error", async () => {
    const before = (await askSandbox("GET", "sends")).length;
    assertKeysideRefused(await refusal(RECIPIENT, OTHER_SENDER), 403, /sender/);
    assert.equal((await askSandbox("GET", "sends")).length, before);
  });
}

function assertKeysideRefused(told, status, words) {
  assert.equal(told.status, status);
  if (told.words !== undefined) assert.match(told.words, words);
}

// What the provider accepted under an id, if it came with the true key.
export async function sent(id) {
  const one = (await askSandbox("GET", "sends")).find((one) => one.wamid === id);
  assert.equal(one.token, KEY_FINGERPRINT);
  return one.body;
}

// Asserts that the last request of this method and path came to the provider with the true key.
export async function assertKeyOf(method, path) {
  const requests = await askSandbox("GET", "requests");
  const seen = requests.findLast((request) => request.path.split("?")[0] === path && request.method === method);
  assert.equal(seen?.token, KEY_FINGERPRINT, `${method} ${path}`);
}
