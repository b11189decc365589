// An application made with whatsapp-api-js that writes each text it gets into the file RECEIVED, synced, then answers.
import { closeSync, fsyncSync, openSync, writeSync } from "node:fs";
import { createServer } from "node:http";

import { WhatsAppAPI } from "whatsapp-api-js/middleware/node-http";

const { APPLICATION, APP_SECRET, RECEIVED } = process.env;
const [host, port] = APPLICATION.split(":");

const api = new WhatsAppAPI({ token: "none", appSecret: APP_SECRET, webhookVerifyToken: "unused" });
api.on.message = ({ message }) => {
  const file = openSync(RECEIVED, "a");
  writeSync(file, `${message.text.body}\n`);
  fsyncSync(file);
  closeSync(file);
};
const server = createServer(async (request, response) => {
  response.statusCode = await api.handle_post(request);
  response.end();
});
server.listen(Number(port), host);
