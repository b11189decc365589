#!/usr/bin/env node
// page.mjs [KEYSIDE] [TENANTS...]: the first paint of the status page in a headless Chromium, and sends beside ten who look at it.
//
// The viewers are `curl` programs, which take all updates and draw nothing. The load sends 50 messages a second for 20 s, without
// viewers and beside them; provider and load are this program, so a look at its own turns goes into the times of both.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { launch } from "../tests/browser/chromium.mjs";

const [program = "target/dist/keyside", ...counts] = process.argv.slice(2);
const TENANTS = counts.length ? counts.map(Number) : [300, 3000];
const VIEWERS = 10;
const PAINTS = 9;
const SENDS = 1000;
const INTERVAL_MS = 20;
const SENDER = "106540352242922";
const BODY = JSON.stringify({ messaging_product: "whatsapp", to: "15550001234", type: "text", text: { body: "Hello" } });

const provider = http.createServer((request, answer) => {
  request.resume();
  request.on("end", () => request.method === "GET" ? answer.setHeader("Content-Type", "text/html").end("<p>word") : answer.end('{"messaging_product":"whatsapp","messages":[{"id":"wamid.1"}]}'));
});
await new Promise((done) => provider.listen(0, "127.0.0.1", done));

for (const count of TENANTS) {
  const sidecar = await start(count);
  try {
    // Every tenant has traffic, so that each has its plots.
    for (let tenant = 0; tenant < count; tenant++) await send(sidecar, tenant);
    const word = await firstPaints(`http://127.0.0.1:${provider.address().port}/`);
    const paints = await firstPaints(sidecar.url);
    console.log(`${count} tenants: first contentful paint ${quantiles(paints, 0)} ms; of a page of one word ${quantiles(word, 0)} ms`);
    console.log(`${count} tenants: a send without viewers ${quantiles(await load(sidecar, count), 1)} ms`);
    const viewers = Array.from({ length: VIEWERS }, () =>
      spawn("curl", ["-sN", "-o", "/dev/null", "-H", "Accept: text/event-stream", `${sidecar.url}page/updates`], { stdio: "ignore" }));
    await pause(2000);
    console.log(`${count} tenants: a send beside ${VIEWERS} viewers ${quantiles(await load(sidecar, count), 1)} ms`);
    if (viewers.some((viewer) => viewer.exitCode !== null)) throw new Error("a viewer has ended");
    viewers.forEach((viewer) => viewer.kill());
  } finally {
    await sidecar.stop();
  }
}
provider.close();

async function firstPaints(url) {
  const browser = await launch();
  const paints = [];
  for (let round = 0; round <= PAINTS; round++) {
    const page = await browser.open(url, { domains: ["Page"] });
    const entry = "performance.getEntriesByName('first-contentful-paint')";
    await page.until(`${entry}.length > 0`);
    // The first tab starts the browser's own processes.
    if (round > 0) paints.push(await page.value(`${entry}[0].startTime`));
    await page.close();
  }
  await browser.close();
  return paints;
}

/** The times of sends at a steady pace, in milliseconds. */
async function load(sidecar, tenants) {
  const times = [];
  const sent = [];
  const began = performance.now();
  for (let number = 0; number < SENDS; number++) {
    await pause(Math.max(0, began + number * INTERVAL_MS - performance.now()));
    sent.push(send(sidecar, number % tenants).then((time) => times.push(time)));
  }
  await Promise.all(sent);
  return times;
}

function send(sidecar, tenant) {
  const began = performance.now();
  return new Promise((resolve, reject) => {
    const headers = { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(BODY) };
    const path = `/t${tenant}/v23.0/${SENDER}/messages`;
    const request = http.request({ host: "127.0.0.1", port: sidecar.outbound, path, method: "POST", agent: sidecar.agent, headers }, (answer) => {
      answer.resume();
      if (answer.statusCode !== 200) reject(new Error(`status ${answer.statusCode}: ${answer.headers["keyside-error"]}`));
      answer.on("end", () => resolve(performance.now() - began));
    });
    request.on("error", reject);
    request.end(BODY);
  });
}

async function start(count) {
  const dir = mkdtempSync(join(tmpdir(), "keyside-page-"));
  const [outbound, admin] = await freePorts(2);
  const tenant = (number) => `
[credential.t${number}]
provider = "bench"
token    = "file:${dir}/token"
check    = "off"
proof    = "off"
[[route]]
credential = "t${number}"
path       = "/t${number}"
[route.limits]
per_sender    = "1000000/s"
per_recipient = { rate = "1000000/s" }
`;
  const upstream = `http://127.0.0.1:${provider.address().port}`;
  writeFileSync(join(dir, "token"), `EAA${"bench0".repeat(20)}`, { mode: 0o600 });
  writeFileSync(join(dir, "proxy.toml"), `
[outbound]
listen = ["127.0.0.1:${outbound}"]
[admin]
listen = ["127.0.0.1:${admin}"]
[log]
level = "warn"
[provider.bench]
extends        = "meta"
upstream       = "${upstream}"
media_upstream = "${upstream}"
upstreams      = { api = "${upstream}" }
${Array.from({ length: count }, (_, number) => tenant(number)).join("")}`);
  const child = spawn(program, ["run", "--config", join(dir, "proxy.toml")], { stdio: ["ignore", "ignore", "inherit"] });
  const url = `http://127.0.0.1:${admin}/`;
  const end = Date.now() + 60_000;
  while (!(await answers(`${url}livez`))) {
    if (child.exitCode !== null || Date.now() > end) throw new Error("keyside does not start");
    await pause(100);
  }
  return {
    url, outbound, agent: new http.Agent({ keepAlive: true }),
    stop: async () => {
      const ended = new Promise((done) => (child.exitCode === null ? child.once("exit", done) : done()));
      child.kill("SIGTERM");
      await ended;
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

function answers(url) {
  return new Promise((resolve) => {
    const request = http.get(url, (answer) => {
      answer.resume();
      resolve(answer.statusCode === 200);
    });
    request.on("error", () => resolve(false));
  });
}

async function freePorts(count) {
  const servers = await Promise.all(Array.from({ length: count }, () => new Promise((done) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => done(server));
  })));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return ports;
}

function quantiles(times, digits) {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))].toFixed(digits);
  return `least ${at(0)}, p50 ${at(0.5)}, p99 ${at(0.99)}, longest ${sorted.at(-1).toFixed(digits)}`;
}

function pause(time) {
  return new Promise((done) => setTimeout(done, time));
}
