// Answers each request with the names and senders that Node finds in it. Argument: the port.
import http from "node:http";
import querystring from "node:querystring";

function search(text) {
  return Object.fromEntries(new URLSearchParams(text));
}

// Every reading of a request, as objects.
async function readings(target, type, body) {
  const query = target.split("?")[1] ?? "";
  const found = [querystring.parse(query), search(query)];
  const text = new TextDecoder().decode(body);
  if (type.toLowerCase().includes("urlencoded")) {
    found.push(querystring.parse(text), search(text));
  } else if (type.toLowerCase().startsWith("multipart/")) {
    const form = await new Response(body, { headers: { "content-type": type } }).formData().catch(() => new FormData());
    found.push(Object.fromEntries(form));
  } else {
    try {
      found.push(JSON.parse(text));
    } catch {}
  }
  return found.filter((object) => object !== null && typeof object === "object");
}

function sendersIn(object) {
  const all = [object, ...Object.values(Object(object.messages))];
  return all.filter((one) => one !== null && typeof one === "object" && "from" in one).map((one) => one.from);
}

http
  .createServer(async (request, response) => {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    const objects = await readings(request.url, request.headers["content-type"] ?? "", Buffer.concat(pieces));
    const answer = { names: objects.flatMap(Object.keys), senders: objects.flatMap(sendersIn) };
    response.writeHead(200, { "content-type": "application/json", connection: "close" });
    response.end(JSON.stringify(answer));
  })
  .listen(Number(process.argv[2]), "127.0.0.1");
