// Chromium, headless, over its own pipe: no port is open, and nothing but node is needed.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ARGV = [
  "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
  "--disable-sync", "--hide-scrollbars", "--force-color-profile=srgb", "--font-render-hinting=none", "--remote-debugging-pipe",
];
const PATIENCE_MS = 30_000;
/** What is followed of a page. Each domain slows the page down: a measurement follows as little as it can. */
const WATCHED = ["Page", "Runtime", "Network", "Log", "Audits"];

/** Starts a browser. `close` ends it. */
export async function launch() {
  const profile = mkdtempSync(join(tmpdir(), "keyside-chromium-"));
  const root = process.getuid() === 0 ? ["--no-sandbox"] : [];
  const child = spawn("chromium", [...ARGV, ...root, `--user-data-dir=${profile}`, "about:blank"], {
    stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"], detached: true,
  });
  const connection = new Connection(child.stdio[3], child.stdio[4]);
  return {
    open: (url, screen) => Page.open(connection, url, screen),
    close: async () => {
      const ended = new Promise((done) => child.once("exit", done));
      process.kill(-child.pid, "SIGKILL");
      await ended;
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** Commands and events, each a JSON text that ends with a zero byte. */
class Connection {
  #next = 1;
  #waiting = new Map();
  #listeners = new Set();
  #writer;

  constructor(writer, reader) {
    this.#writer = writer;
    let text = "";
    reader.setEncoding("utf8");
    reader.on("data", (piece) => {
      const messages = (text + piece).split("\0");
      text = messages.pop();
      for (const message of messages) this.#take(JSON.parse(message));
    });
  }

  #take(message) {
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (!waiting) for (const listen of this.#listeners) listen(message);
    else if (message.error) waiting.reject(new Error(message.error.message));
    else waiting.resolve(message.result);
  }

  listen(listener) {
    this.#listeners.add(listener);
  }

  send(method, params = {}, sessionId = undefined) {
    const id = this.#next++;
    const text = JSON.stringify({ id, method, params, sessionId });
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#writer.write(`${text}\0`);
    });
  }
}

/** One tab. */
class Page {
  /** What the page asked for, and what the browser complained about. */
  requests = [];
  complaints = [];
  #connection;
  #session;

  static async open(connection, url, { width = 1280, height = 900, scale = 1, dark = false, mobile = false, script = true, domains = WATCHED } = {}) {
    const page = new Page();
    page.#connection = connection;
    const { targetId } = await connection.send("Target.createTarget", { url: "about:blank" });
    page.#session = (await connection.send("Target.attachToTarget", { targetId, flatten: true })).sessionId;
    connection.listen((message) => message.sessionId === page.#session && page.#note(message));
    for (const domain of domains) await page.send(`${domain}.enable`);
    await page.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: scale, mobile });
    await page.send("Emulation.setScriptExecutionDisabled", { value: !script });
    await page.send("Emulation.setEmulatedMedia", {
      features: [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }],
    });
    await page.send("Page.navigate", { url });
    await page.until("document.readyState === 'complete'");
    return page;
  }

  #note({ method, params }) {
    if (method === "Network.requestWillBeSent") this.requests.push(params.request.url);
    if (method === "Runtime.exceptionThrown") this.complaints.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    if (method === "Log.entryAdded" && params.entry.level === "error") this.complaints.push(`${params.entry.text} ${params.entry.url ?? ""}`);
    if (method === "Audits.issueAdded") this.complaints.push(JSON.stringify(params.issue));
  }

  send(method, params) {
    return this.#connection.send(method, params, this.#session);
  }

  /** The value of an expression in the page, past its policy: the test is no guest there. */
  async value(expression) {
    const answer = await this.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (answer.exceptionDetails) throw new Error(answer.exceptionDetails.exception?.description ?? answer.exceptionDetails.text);
    return answer.result.value;
  }

  /** Waits until an expression is true. */
  async until(expression, patience = PATIENCE_MS) {
    const end = Date.now() + patience;
    while (!(await this.value(expression).catch(() => false))) {
      if (Date.now() > end) throw new Error(`not in ${patience} ms: ${expression}\n${await this.value("document.body.innerText")}`);
      await new Promise((done) => setTimeout(done, 50));
    }
  }

  async press(key) {
    const codes = { Tab: 9, Enter: 13, " ": 32 };
    const text = { Enter: "\r", " ": " " }[key] ?? (key.length === 1 ? key : undefined);
    const event = { key, text, windowsVirtualKeyCode: codes[key] ?? key.toUpperCase().charCodeAt(0) };
    await this.send("Input.dispatchKeyEvent", { type: text ? "keyDown" : "rawKeyDown", ...event });
    await this.send("Input.dispatchKeyEvent", { type: "keyUp", ...event });
  }

  /** A PNG of the screen, or of as much of the page as `height` says. */
  async screenshot() {
    const { data } = await this.send("Page.captureScreenshot", { format: "png", optimizeForSpeed: false });
    return Buffer.from(data, "base64");
  }

  async close() {
    await this.send("Page.close").catch(() => {});
  }
}
