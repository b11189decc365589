// screenshots.mjs KEYSIDE: makes the pictures of the status page in docs/ again. An hour passes in two minutes, by faketime.

import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { launch } from "./chromium.mjs";
import { start } from "./stage.mjs";

const DOCS = join(import.meta.dirname, "..", "..", "docs");
const PACE = 30;
const SECONDS = (3600 / PACE) * 1.05;
const PICTURES = {
  "status-page.png": { width: 1000, height: 1100 },
  "status-page-phone.png": { width: 360, height: 860, scale: 1.25, mobile: true, dark: true },
};
/** The messages of each tenant in a second of the stage. */
const RATES = { acme: 14, bakery: 8, cinema: 3, "dental-care": 4, florist: 2, garage: 2, hotel: 3, library: 1 };

const stage = await start(process.argv[2], { incidents: ["destination", "soon due"], wrapper: ["faketime", "-f", `+0 x${PACE}`] });
const browser = await launch();
try {
  const end = Date.now() + Number(process.env.SECONDS ?? SECONDS) * 1000;
  let number = 0;
  while (Date.now() < end) {
    const wave = 0.55 + 0.45 * Math.sin(Date.now() / 9000);
    const work = Object.entries(RATES).flatMap(([name, rate]) => {
      const isDue = Math.random() < rate * wave * 0.1;
      return isDue ? [stage.send(name, `49170${number++}`), ...(number % 2 ? [stage.event(name, `${number}`)] : [])] : [];
    });
    await Promise.allSettled(work);
    await new Promise((done) => setTimeout(done, 100));
  }
  for (const [name, screen] of Object.entries(PICTURES)) {
    const page = await browser.open(stage.url, screen);
    await page.until("document.getElementById('state').textContent === 'live'");
    const picture = await page.screenshot();
    writeFileSync(join(DOCS, name), picture);
    console.log(`${name}: ${picture.length} bytes`);
    await page.close();
  }
} finally {
  await browser.close();
  await stage.stop();
}
