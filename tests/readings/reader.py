"""Answers each request with the names and senders that Python finds in it. Argument: the port."""

import email.parser
import email.policy
import json
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
    """Every reading of a request, as lists of pairs."""
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
            found += value if isinstance(value, Pairs) else []
        except (ValueError, RecursionError):
            pass
    return found


class Pairs(list):
    """The fields of an object, repeated ones as well."""


def senders(found):
    for name, value in found:
        if name == "from":
            yield value
        elif name == "messages":
            inner = [item for _, item in value] if isinstance(value, Pairs) else value
            for message in inner if isinstance(inner, list) else []:
                yield from senders(message if isinstance(message, Pairs) else [])


class Reader(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        found = readings(self.path, self.headers.get("content-type", ""), body)
        answer = json.dumps({"names": [name for name, _ in found], "senders": list(senders(found))}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


HTTPServer(("127.0.0.1", int(sys.argv[1])), Reader).serve_forever()
