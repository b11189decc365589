// Reads the records of the sandbox behind Keyside.
import { readFileSync } from "node:fs";
import https from "node:https";

const { SANDBOX_URL, SANDBOX_CA } = process.env;

export async function askSandbox(method, what, body) {
  const options = { method, ca: readFileSync(SANDBOX_CA) };
  const answer = await new Promise((resolve, reject) => {
    https.request(`${SANDBOX_URL}/_sandbox/${what}`, options, resolve).on("error", reject).end(body && JSON.stringify(body));
  });
  let text = "";
  for await (const part of answer) text += part;
  return JSON.parse(text);
}

// The last message that came, taken or not: Keyside asks for other things on its own.
export async function lastMessage(path) {
  return (await askSandbox("GET", "requests")).findLast((request) => request.path === path);
}
