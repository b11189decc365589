// A Keyside with several tenants, and with one incident of each kind that the status page has to name.

import { execFileSync, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdirSync, mkdtempSync, renameSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const SENDER = "106540352242922";
const APP_SECRET = "0123456789abcdef0123456789abcdef";
const DAY = 86_400;
/** The tenants, with the code with which the provider refuses their messages. */
const TENANTS = {
  acme: {}, bakery: {}, cinema: {}, "dental-care": {}, florist: { code: 131031, status: 400 }, garage: { code: 130429, status: 400 },
  hotel: {}, "ice-rink": {}, library: {},
};
const REFUSALS = { 131031: "Business Account locked <b>&", 130429: "Rate limit hit", 190: "Error validating access token" };

/** What can be broken besides what the provider refuses. */
const INCIDENTS = ["audit file", "certificate", "destination", "kept back", "overdue", "shared server", "soon due"];

/** Starts the stage with some incidents; `wrapper` runs before the program. */
export async function start(keyside, { incidents = INCIDENTS, wrapper = [] } = {}) {
  const dir = mkdtempSync(join(tmpdir(), "keyside-stage-"));
  const tokens = new Map();
  const provider = await serve((request, answer) => answerAsProvider(tokens, request, answer));
  const application = await serve((_, answer) => answer.writeHead(200, { "Content-Type": "text/html" }).end("<p>word"));
  const [outbound, inbound, admin, down] = await freePorts(4);
  const names = Object.keys(TENANTS);
  const has = (incident) => incidents.includes(incident);
  names.forEach((name, place) => {
    const folder = join(dir, `t${place}`);
    mkdirSync(folder);
    const token = `EAA${"x".repeat(90)}${place}`;
    tokens.set(token, TENANTS[name]);
    writeFileSync(join(folder, "token"), token, { mode: 0o600 });
    writeFileSync(join(folder, "app_secret"), APP_SECRET, { mode: 0o600 });
    writeFileSync(join(folder, "verify_token"), `verify-${place}-me`, { mode: 0o600 });
    for (const secret of ["app_secret", "verify_token"]) age(join(folder, secret), 7 + place * 6);
    const isOld = { "dental-care": has("overdue") && 120, hotel: has("soon due") && 80 }[name];
    age(join(folder, "token"), isOld || 5 + place * 3);
  });
  const ports = { outbound, inbound, admin, down, provider: provider.port, application: application.port };
  writeFileSync(join(dir, "proxy.toml"), configuration(dir, ports, names, has));
  mkdirSync(join(dir, "audit"));
  if (has("certificate")) certificate(dir);
  const argv = [...wrapper, keyside, "run", "--config", join(dir, "proxy.toml")];
  const child = spawn(argv[0], argv.slice(1), { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, NOWHERE: `redis://127.0.0.1:${down}` } });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (piece) => (said += piece));
  const stage = {
    dir, ports, names, url: `http://127.0.0.1:${admin}/`, blank: `http://127.0.0.1:${application.port}/`, child,
    said: () => said,
    send: (name, recipient) => send(outbound, `/t${names.indexOf(name)}`, recipient),
    event: (name, id, secret = APP_SECRET) => event(inbound, `/hooks/t${names.indexOf(name)}`, id, secret),
    stop: async () => {
      if (child.exitCode === null) await noConnections(admin);
      const ended = new Promise((done) => (child.exitCode === null ? child.once("exit", done) : done()));
      child.kill("SIGTERM");
      await ended;
      provider.close();
      application.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
  await eventually(async () => child.exitCode !== null || (await status(`http://127.0.0.1:${admin}/livez`)) === 200, () => "keyside does not answer");
  if (child.exitCode !== null) throw new Error(`keyside did not start:\n${said}`);
  breakMore(dir, names, has);
  return stage;
}

function configuration(dir, ports, names, has) {
  const of = (name) => names.indexOf(name);
  const quoted = (text) => JSON.stringify(text);
  const tenant = (name) => `
[credential.${quoted(name)}]
provider     = "sandbox"
token        = "file:${dir}/t${of(name)}/token"
app_secret   = "file:${dir}/t${of(name)}/app_secret"
verify_token = "file:${dir}/t${of(name)}/verify_token"
check        = "off"
proof        = "off"
max_age      = "90d"

[[route]]
credential = ${quoted(name)}
path       = "/t${of(name)}"
[route.limits]
per_sender = "${name === "cinema" ? "2/10s" : "20/s"}"
per_recipient = { rate = "1/s", burst = 100 }
max_wait   = "300ms"

[[webhook]]
path       = "/hooks/t${of(name)}"
credential = ${quoted(name)}
[[webhook.to]]
name    = "application"
forward = "http://127.0.0.1:${ports.application}/events"
${has("destination") && name === "bakery" ? `[[webhook.to]]\nname = "crm"\nforward = "http://127.0.0.1:${ports.down}/events"\n` : ""}`;
  const alias = `
[outbound.tls]
listen = ["127.0.0.1:0"]
cert   = "${dir}/alias.pem"
key    = "${dir}/alias.key"
`;
  const shared = `
[limits]
redis = "env:NOWHERE"
`;
  return `
[outbound]
listen = ["127.0.0.1:${ports.outbound}"]
[inbound]
listen = ["127.0.0.1:${ports.inbound}"]
[admin]
listen = ["127.0.0.1:${ports.admin}"]
[log]
level = "warn"
[reload]
watch = "500ms"
[spool]
dir = "${dir}/spool"
[audit]
file = "${dir}/audit/audit.jsonl"
${has("certificate") ? alias : ""}${has("shared server") ? shared : ""}
[provider.sandbox]
extends        = "meta"
upstream       = "http://127.0.0.1:${ports.provider}"
media_upstream = "http://127.0.0.1:${ports.provider}"
upstreams      = { api = "http://127.0.0.1:${ports.provider}" }
${names.map(tenant).join("")}`;
}

function certificate(dir) {
  // Issued three months ago, so that five days are little.
  execFileSync("faketime", ["-90 days", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "95",
    "-subj", "/CN=graph.facebook.com", "-addext", "subjectAltName=DNS:graph.facebook.com",
    "-keyout", join(dir, "alias.key"), "-out", join(dir, "alias.pem")], { stdio: "ignore" });
}

/** Breaks what only a running sidecar survives. */
function breakMore(dir, names, has) {
  if (has("audit file")) {
    // The folder of the file goes, and a new one cannot come in its place.
    renameSync(join(dir, "audit"), join(dir, "audit-gone"));
    writeFileSync(join(dir, "audit"), "");
  }
  // A new token that is no token: the source holds something that is refused.
  if (has("kept back")) writeFileSync(join(dir, `t${names.indexOf("library")}`, "token"), "not a token\nat all", { mode: 0o600 });
}

function age(path, days) {
  const at = Date.now() / 1000 - days * DAY;
  utimesSync(path, at, at);
}

/** Answers as the Cloud API does, by the token of the tenant. */
function answerAsProvider(tokens, request, answer) {
  const token = (request.headers.authorization ?? "").replace("Bearer ", "");
  const { code, status } = tokens.get(token) ?? { code: 190, status: 401 };
  request.resume();
  request.on("end", () => {
    const error = { message: REFUSALS[code], type: "OAuthException", code, fbtrace_id: "AbCdEfGhIjK" };
    const body = code ? { error } : { messaging_product: "whatsapp", messages: [{ id: `wamid.${Math.random()}` }] };
    answer.writeHead(code ? status : 200, { "Content-Type": "application/json" });
    answer.end(JSON.stringify(body));
  });
}

function send(port, prefix, recipient) {
  const body = JSON.stringify({ messaging_product: "whatsapp", to: recipient, type: "text", text: { body: "Hello" } });
  return post(port, `${prefix}/v23.0/${SENDER}/messages`, body, {});
}

function event(port, path, id, secret) {
  const value = { messaging_product: "whatsapp", metadata: { phone_number_id: SENDER }, messages: [{ from: `4917${id}`, id: `wamid.${id}`, timestamp: `${Math.floor(Date.now() / 1000)}`, type: "text", text: { body: "Hi" } }] };
  const body = JSON.stringify({ object: "whatsapp_business_account", entry: [{ id: "1", changes: [{ field: "messages", value }] }] });
  const signature = createHmac("sha256", secret).update(body).digest("hex");
  return post(port, path, body, { "X-Hub-Signature-256": `sha256=${signature}` });
}

const agent = new http.Agent({ keepAlive: true });
function post(port, path, body, headers) {
  return new Promise((resolve, reject) => {
    const length = Buffer.byteLength(body);
    const request = http.request({ host: "127.0.0.1", port, path, method: "POST", agent, headers: { "Content-Type": "application/json", "Content-Length": length, ...headers } }, (answer) => {
      answer.resume();
      answer.on("end", () => resolve(answer.statusCode));
    });
    request.on("error", reject);
    request.end(body);
  });
}

export function status(url) {
  return new Promise((resolve) => {
    http.get(url, (answer) => {
      answer.resume();
      resolve(answer.statusCode);
    }).on("error", () => resolve(0));
  });
}

/** Waits until every connection has ended with its client; the browser has ended before. */
async function noConnections(port) {
  agent.destroy();
  http.globalAgent.destroy();
  let open = "";
  await eventually(async () => {
    open = (await connections(port)).filter(([listener, count]) => count > (listener === "admin" ? 1 : 0));
    return open.length === 0;
  }, () => `connections outlive their clients: ${open}`);
}

/** The listeners with the numbers of their connections, that of the question among them. */
async function connections(port) {
  const text = await new Promise((resolve, reject) => {
    http.get({ host: "127.0.0.1", port, path: "/metrics", agent: false }, (answer) => {
      let body = "";
      answer.setEncoding("utf8");
      answer.on("data", (piece) => (body += piece));
      answer.on("end", () => resolve(body));
    }).on("error", reject);
  });
  return [...text.matchAll(/^keyside_connections\{listener="(.*)"\} (\d+)$/gm)].map(([, listener, count]) => [listener, Number(count)]);
}

async function serve(handler) {
  const server = http.createServer(handler);
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return { port: server.address().port, close: () => { server.closeAllConnections(); server.close(); } };
}

async function freePorts(count) {
  const servers = Array.from({ length: count }, () => net.createServer());
  await Promise.all(servers.map((server) => new Promise((done) => server.listen(0, "127.0.0.1", done))));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return ports;
}

export async function eventually(holds, why, patience = 30_000) {
  const end = Date.now() + patience;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(why());
    await new Promise((done) => setTimeout(done, 100));
  }
}
