"""Answers each request with the names in it, and with what Python finds at the places in the header. Argument: the port."""

import email.parser
import email.policy
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qsl


def pairs(text):
    """The pairs of a query or form, with `&`, and with `;` as older versions read it."""
    for form in (text, text.replace(";", "&")):
        yield from parse_qsl(form, keep_blank_values=True, errors="replace")


def parts(kind, body):
    """The names in a multipart form."""
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        b"Content-Type: " + kind.encode("latin-1") + b"\r\n\r\n" + body)
    for part in message.iter_parts() if message.is_multipart() else ():
        name = part.get_param("name", header="content-disposition")
        if name is not None:
            # RFC 2231 gives a character set, a language and a value.
            yield name[2] if isinstance(name, tuple) else str(name)


def readings(target, kind, body):
    """Every reading of a request: the pairs of the query and of a form, and the fields of a JSON object."""
    fields = Pairs()
    found = list(pairs(target.partition("?")[2]))
    lower = kind.lower()
    if "urlencoded" in lower:
        found += pairs(body.decode("utf-8", "replace"))
    elif lower.startswith("multipart/"):
        try:
            found += [(name, "") for name in parts(kind, body)]
        except Exception:  # A body that cannot be read has no names.
            pass
    else:
        try:
            # Bytes in UTF-8, UTF-16 or UTF-32. The hook sees repeated names.
            value = json.loads(body, object_pairs_hook=Pairs)
            fields = value if isinstance(value, Pairs) else fields
        except (ValueError, RecursionError):
            pass
    return found, fields


class Pairs(list):
    """The fields of an object, repeated ones as well."""


def inner(value):
    """The elements of a list, or the values of an object, which some readers take for a list."""
    return [item for _, item in value] if isinstance(value, Pairs) else value if isinstance(value, list) else []


def at(value, place):
    """Everything at a place in a value: `*` stands for the elements of a list, or for one element without its list."""
    if not place:
        yield value
    elif place[0] == "*":
        for element in inner(value):
            yield from at(element, place[1:])
        if not isinstance(value, list) or isinstance(value, Pairs):
            yield from at(value, place[1:])
    elif isinstance(value, Pairs):
        for name, item in value:
            if name == place[0]:
                yield from at(item, place[1:])
    elif isinstance(value, list) and len(value) == 1:
        yield from at(value[0], place)


def nested(name, place):
    """Whether the name of a field of a form leads to a place, with brackets or dots."""
    keys = [key for key in re.split(r"[\[\].]+", name) if key]
    return len(keys) == len(place) and all(own in ("*", key) for key, own in zip(keys, place))


def found_at(found, fields, place):
    yield from at(fields, place)
    yield from at(Pairs(found), place)
    if len(place) > 1:
        yield from (value for name, value in found if isinstance(value, str) and nested(name, place))


def plain(value):
    """A value without `Pairs`, whose repeated names JSON does not have."""
    if isinstance(value, list):
        return [plain(item) for item in inner(value)]
    return value


class Reader(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        found, fields = readings(self.path, self.headers.get("content-type", ""), body)
        places = [place.split("/") for place in self.headers.get("places", "").split()]
        values = [plain(value) for place in places for value in found_at(found, fields, place)]
        answer = json.dumps({"names": [name for name, _ in found + list(fields)], "values": values}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


HTTPServer(("127.0.0.1", int(sys.argv[1])), Reader).serve_forever()
