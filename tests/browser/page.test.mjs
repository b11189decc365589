// The status page in a browser: what people see, with a mouse, a keyboard, a phone, in the dark, and without the script.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";

import { launch } from "./chromium.mjs";
import { eventually, start } from "./stage.mjs";

const KEYSIDE = process.env.KEYSIDE_BINARY;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PHONE = { width: 360, height: 740, mobile: true };
/** What the page says of each incident, and of what to do. */
const INCIDENTS = {
  "a restricted account": /route florist: .*the provider restricts sending.*Business Account locked.*131031/,
  "a secret beyond its age": /dental-care: token is 120d old, and max_age is 90d: rotate it/,
  "a secret that is soon too old": /hotel: token is 80d old, and max_age is 90d: rotate it/,
  "a secret that is kept back": /library: the source has a secret that cannot be used.*put a good secret there/,
  "a destination that is down": /webhook bakery, destination crm: .*/,
  "a certificate near its end": /outbound\.tls: .*/,
  "the audit file": /audit: .*audit\.jsonl cannot be written since.*/,
  "the shared server": /Limits are NOT shared: env:NOWHERE: .*on_failure = "local" applies/,
  "a paused sender": /route garage: sender .* for \d+[sm]: the provider refused a request as too fast/,
};

let browser;
let stage;

before(async () => {
  browser = await launch();
  stage = await start(KEYSIDE);
  for (const [place, name] of stage.names.entries()) {
    for (let n = 0; n < 6; n++) await stage.send(name, `49170${place}${n}`);
    await stage.event(name, `${place}1`);
  }
  await stage.event("acme", "99", "f".repeat(32));
});
after(async () => {
  await browser?.close();
  await stage?.stop();
});

/** The lines of the problems; the mark between a subject and its matter is drawn, not written. */
const LINES = `[...document.querySelectorAll(".problems li")].map((line) => {
  const subject = line.querySelector("b")?.textContent ?? "";
  return (subject ? subject + ": " : "") + line.textContent.slice(subject.length).trim();
})`;

/** The first paint of a page of one word on an idle machine of two processors, in milliseconds. */
const ONE_WORD_MS = 32;

/** The time from the navigation to the first paint of a page in a new tab, in milliseconds. */
async function firstPaint(url) {
  const page = await browser.open(url, { domains: ["Page"] });
  await page.until("performance.getEntriesByType('paint').length > 0");
  const paint = Math.round(await page.value("performance.getEntriesByType('paint').at(-1).startTime"));
  await page.close();
  return paint;
}

async function violations(page) {
  return page.value(`(async () => {
    ${AXE}
    // What is further down has to be laid out to be judged.
    for (const part of document.querySelectorAll("main > div")) part.style.contentVisibility = "visible";
    const { violations } = await axe.run(document, { resultTypes: ["violations"] });
    return violations.map(({ id, nodes }) => id + ": " + nodes.map((node) => node.html + " " + node.failureSummary).join("; "));
  })()`);
}

describe("the status page", { concurrency: false }, () => {
  test("names each incident, and what to do", async () => {
    const page = await browser.open(stage.url);
    await page.until("document.getElementById('state').textContent === 'live'");
    for (const [incident, pattern] of Object.entries(INCIDENTS)) {
      let lines = [];
      await eventually(async () => {
        // The pause of a sender is over soon, and begins anew.
        await stage.send("garage", "4917012345");
        lines = await page.value(LINES);
        return lines.some((line) => pattern.test(line));
      }, () => `${incident} is not among\n${lines.join("\n")}`);
    }
    assert.match(await page.value("document.title"), /things are wrong.* · Keyside/);
    await page.close();
  });

  test("loads nothing from elsewhere, and the browser has no complaint", async () => {
    const page = await browser.open(stage.url);
    await page.until("document.getElementById('state').textContent === 'live'");
    const elsewhere = page.requests.filter((url) => !url.startsWith(stage.url) && !url.startsWith("data:"));
    assert.deepEqual(elsewhere, []);
    assert.deepEqual(page.complaints, []);
    await page.close();
  });

  test("is painted within 100 ms", async () => {
    const empty = [];
    const paints = [];
    // By turns, so that what else the machine does delays both.
    for (let round = 0; round < 8; round++) {
      empty.push(await firstPaint(stage.blank));
      paints.push(await firstPaint(stage.url));
    }
    console.log(`first contentful paint: ${paints.join(", ")} ms; of one word: ${empty.join(", ")} ms`);
    // A slower or busier machine paints a page of one word later as well.
    const slowness = Math.max(Math.min(...empty) / ONE_WORD_MS, 1);
    assert.ok(Math.min(...paints) < 100 * slowness);
  });

  test("follows the sidecar without a reload, and keeps focus and what was typed", async () => {
    const page = await browser.open(stage.url);
    await page.until("document.getElementById('state').textContent === 'live'");
    await page.value("window.isTheSame = true; document.querySelector('input[name=find]').focus()");
    await page.press("q");
    const row = "[...document.querySelectorAll('#part-routes tr')].find((row) => row.dataset.key === 'acme').textContent";
    const beforeThat = await page.value(row);
    await stage.send("acme", "4917099");
    await page.until(`${row} !== ${JSON.stringify(beforeThat)}`);
    assert.equal(await page.value("window.isTheSame"), true);
    assert.equal(await page.value("document.activeElement.name + document.activeElement.value"), "findq");
    await page.close();
  });

  test("works with a keyboard alone", async () => {
    const page = await browser.open(stage.url);
    const focused = () => page.value("document.activeElement.textContent.trim() || document.activeElement.name");
    await page.press("Tab");
    assert.equal(await focused(), "Skip to what is wrong");
    await page.press("Enter");
    await page.until("location.hash === '#main'");
    const reached = [];
    for (let n = 0; n < 4; n++) {
      await page.press("Tab");
      reached.push(await focused());
    }
    assert.deepEqual(reached.slice(0, 3), ["find", "only", "Show"]);
    const outline = "getComputedStyle(document.querySelector('.find button')).outlineStyle";
    await page.value("document.querySelector('input[name=find]').focus()");
    for (const key of "flor") await page.press(key);
    await page.press("Enter");
    await page.until("location.search.includes('find=flor')");
    assert.deepEqual(await page.value("[...document.querySelectorAll('#part-routes tbody tr')].map((row) => row.dataset.key)"), ["florist"]);
    await page.value("document.getElementById('pause').focus()");
    await page.press("Tab");
    await page.value("document.querySelector('.find button').focus()");
    assert.equal(await page.value(outline), "solid");
    await page.value("document.getElementById('pause').focus()");
    await page.press(" ");
    await page.until("document.getElementById('state').textContent.startsWith('paused at')");
    await page.press(" ");
    await page.until("document.getElementById('state').textContent === 'live'");
    await page.close();
  });

  for (const [name, screen] of Object.entries({
    "a desktop": {}, "a desktop in the dark": { dark: true }, "a phone": PHONE, "a phone in the dark": { ...PHONE, dark: true },
  })) {
    test(`has no fault that axe finds, and no sideways scroll, on ${name}`, async () => {
      const page = await browser.open(stage.url, screen);
      await page.until("document.getElementById('state').textContent === 'live'");
      assert.deepEqual(await violations(page), []);
      assert.ok(await page.value("document.documentElement.scrollWidth <= innerWidth"), "a sideways scroll");
      await page.close();
    });
  }

  test("shows everything without the script", async () => {
    const page = await browser.open(stage.url, { script: false });
    const shown = await page.value("document.getElementById('main').textContent");
    for (const part of ["things are wrong", "route florist", "Credentials", "Routes", "Webhooks", "Business Account locked <b>&"]) {
      assert.ok(shown.includes(part), `${part} in ${shown}`);
    }
    assert.match(await page.value("document.body.innerText"), /Load it now/);
    await page.close();
  });
});
