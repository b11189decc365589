// Answers each request with the names in it, and with what Node finds at the places in the header. Argument: the port.
import http from "node:http";
import querystring from "node:querystring";

function search(text) {
  return Object.fromEntries(new URLSearchParams(text));
}

// Every reading of a request, as objects: those of the query and of a form, and those of JSON.
async function readings(target, type, body) {
  const json = [];
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
      json.push(JSON.parse(text));
    } catch {}
  }
  const isObject = (value) => value !== null && typeof value === "object";
  return [found.filter(isObject), json.filter(isObject)];
}

// Everything at a place in a value: `*` stands for the elements of a list, or for one element without its list.
function at(value, place) {
  if (place.length === 0) return [value];
  const [first, ...rest] = place;
  if (first === "*") {
    const inner = value !== null && typeof value === "object" ? Object.values(value) : [];
    const single = Array.isArray(value) ? [] : [value];
    return [...inner, ...single].flatMap((element) => at(element, rest));
  }
  if (Array.isArray(value)) return value.length === 1 ? at(value[0], place) : [];
  if (value === null || typeof value !== "object" || !Object.hasOwn(value, first)) return [];
  return at(value[first], rest);
}

// Whether the name of a field of a form leads to a place, with brackets or dots.
function leadsTo(name, place) {
  const keys = name.split(/[[\].]+/).filter((key) => key !== "");
  return keys.length === place.length && place.every((own, index) => own === "*" || own === keys[index]);
}

function foundAt(object, place) {
  const isText = (value) => typeof value === "string" || (Array.isArray(value) && value.every(isText));
  const isNested = (name) => place.length > 1 && leadsTo(name, place) && isText(object[name]);
  const names = Object.keys(object).filter(isNested);
  return [...at(object, place), ...names.map((name) => object[name])];
}

http
  .createServer(async (request, response) => {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    const [forms, json] = await readings(request.url, request.headers["content-type"] ?? "", Buffer.concat(pieces));
    const places = (request.headers.places ?? "").split(" ").filter((place) => place !== "").map((place) => place.split("/"));
    // Only the names of a form lead to places with brackets or dots.
    const values = places.flatMap((place) => [...forms.flatMap((form) => foundAt(form, place)), ...json.flatMap((value) => at(value, place))]);
    const answer = { names: [...forms, ...json].flatMap(Object.keys), values };
    response.writeHead(200, { "content-type": "application/json", connection: "close" });
    response.end(JSON.stringify(answer));
  })
  .listen(Number(process.argv[2]), "127.0.0.1");
