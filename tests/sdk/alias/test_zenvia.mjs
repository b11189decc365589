// @zenvia/sdk in alias mode: its address is a constant.
import assert from "node:assert/strict";
import zenvia from "@zenvia/sdk";

import { behavioursOf, RECIPIENT, sent, testRefusals } from "../behaviours.mjs";

const { SENDER } = process.env;
const TEXT = "Ünïcode and a 🚀";
const PICTURE = "https://example.com/cat.png";

const whatsapp = new zenvia.Client("none").getChannel("whatsapp");
const send = (to, sender) => whatsapp.sendMessage(sender, to, new zenvia.TextContent(TEXT));
const shows = behavioursOf("@zenvia/sdk");

shows("send", "a message is sent", async () => {
  const { id } = await send(RECIPIENT, SENDER);
  assert.equal((await sent(id)).contents[0].text, TEXT);
});

shows("media out", "a picture is sent by its URL", async () => {
  const { id } = await whatsapp.sendMessage(SENDER, RECIPIENT, new zenvia.FileContent(PICTURE, "image/png"));
  assert.equal((await sent(id)).contents[0].fileUrl, PICTURE);
});

testRefusals("@zenvia/sdk", send, (error) => {
  assert.equal(error.message, "Unsuccessful request");
  return { status: error.httpStatusCode, words: JSON.stringify(error.body) };
});
