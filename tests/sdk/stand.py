#!/usr/bin/env python3
"""stand.py KEYSIDE PROVIDER COMMAND...: runs COMMAND beside a sandbox of the provider and a Keyside in front of it.

COMMAND gets, in its environment:
  KEYSIDE_URL    where an application sends, http://127.0.0.1:PORT
  KEYSIDE_ADMIN  the admin listener of the same Keyside
  SANDBOX_URL    the emulated API, https://127.0.0.1:PORT
  SANDBOX_CA     the CA of its certificate
  with the provider `meta`, or `meta-spooled` for events that wait on disk:
  APPLICATION    127.0.0.1:PORT, where genuine webhooks go to /events
  APP_SECRET     the app secret, with which an application can check a webhook again
  with another:
  KEY_FINGERPRINT  how the sandbox names the key in what it has seen; of a key in two halves, the public one's
  SENDER         the sender that the route has, as OTHER_SENDER is one that it has not
  ACCOUNT_SID, ... what else the account has, in capitals
but no token and no key: only Keyside knows where that lies. Both programs end with COMMAND, whose status is returned.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.request

LISTEN = """\
[outbound]
listen = ["127.0.0.1:{outbound}"]

[inbound]
listen = ["127.0.0.1:{inbound}"]

[admin]
listen = ["127.0.0.1:{admin}"]

"""
META = """\
[provider.sandbox]
extends        = "meta"
upstream       = "https://127.0.0.1:{graph}"
media_upstream = "https://127.0.0.1:{media}"
upstreams      = {{ api = "https://127.0.0.1:{graph}" }}
ca             = "{dir}/ca.pem"

[credential.acme]
provider     = "sandbox"
token        = "file:{dir}/token"
app_secret   = "file:{dir}/app_secret"
verify_token = "file:{dir}/verify_token"
hold         = "1500ms"

[[route]]
credential = "acme"
operations = [
  "messages", "media", "media_delete", "templates", "objects", "groups", "calls", "block_users", "flows", "commerce",
  "phone_numbers", "account", "registration", "onboarding", "uploads", "insights",
]
[route.limits]
per_recipient = {{ rate = "1/m", burst = 10 }}

[[webhook]]
path       = "/webhooks/whatsapp"
credential = "acme"
forward    = "http://127.0.0.1:{application}/events"
"""
SPOOL = '\n[spool]\ndir = "{dir}/spool"\n'
# The route of another provider, in the place of the sandbox's. Tests count on the burst.
ROUTE = """
[[route]]
credential = "sandbox"
senders    = ["{sender}"]
{operations}
[route.limits]
per_recipient = {{ rate = "1/m", burst = 10 }}
"""
SENDER, OTHER_SENDER = "15550001111", "15559999999"
# The id of a channel, or of an app, where a sender is no number.
SENDERS = {"messagebird": "619747f69cf940a98fb443140ce9aed2", "sinch": "01EB37HMH1M6SV18BSNS3G135H"}
# What the SDKs do beyond what a route may do by default.
OPERATIONS = {"infobip": ["messages", "media", "read", "history"]}
START_SECONDS = 20


def main(keyside, provider, command):
    with tempfile.TemporaryDirectory(prefix="keyside-stand-") as directory, contextlib.ExitStack() as running:
        directory = pathlib.Path(directory)
        ports = dict(zip(("outbound", "inbound", "admin", "graph", "media", "application"), free_ports(6)))
        sandbox = pathlib.Path(directory, "sandbox")
        sandbox.mkdir()
        is_meta = provider.startswith("meta")
        if is_meta:
            more = ("--media-listen", f"127.0.0.1:{ports['media']}",
                    "--callback", f"http://127.0.0.1:{ports['inbound']}/webhooks/whatsapp")
        else:
            more = ("--provider", provider)
        running.enter_context(program(directory, keyside, "sandbox", "--dir", sandbox,
                                      "--listen", f"127.0.0.1:{ports['graph']}", *more))
        said = pathlib.Path(directory, "sandbox.log")
        wait_for("the sandbox", lambda: "Recipients" in said.read_text() and connects(ports["graph"]))
        if is_meta:
            spool = SPOOL if provider == "meta-spooled" else ""
            account = (META + spool).format(dir=sandbox, **ports)
            own = {"APPLICATION": f"127.0.0.1:{ports['application']}",
                   "APP_SECRET": (sandbox / "app_secret").read_text().strip()}
        else:
            account = with_route(configuration_in(said.read_text()), provider)
            own = about_account(account, provider)

        config = pathlib.Path(directory, "proxy.toml")
        config.write_text(LISTEN.format(**ports) + account)
        running.enter_context(program(directory, keyside, "run", "--config", config))
        admin = f"http://127.0.0.1:{ports['admin']}"
        wait_for("keyside", lambda: answers(f"{admin}/readyz"))

        environment = dict(os.environ, KEYSIDE_URL=f"http://127.0.0.1:{ports['outbound']}", KEYSIDE_ADMIN=admin,
                           SANDBOX_URL=f"https://127.0.0.1:{ports['graph']}", SANDBOX_CA=str(sandbox / "ca.pem"), **own)
        status = subprocess.run(command, env=environment).returncode
        must_have_no_connections(admin)
        return status


def must_have_no_connections(admin):
    """Fails unless every connection ends with its client. COMMAND has ended, so no client is left."""
    wait_for("the end of all connections", lambda: not open_connections(admin), lambda: open_connections(admin))


def open_connections(admin):
    """The open connections of each listener that has some, without that of the question."""
    request = urllib.request.Request(f"{admin}/metrics", headers={"Accept": "text/plain"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    counts = dict(re.fullmatch(r'keyside_connections\{listener="(.*)"\} (\d+)', line).groups()
                  for line in lines if line.startswith("keyside_connections{"))
    if not counts:
        raise SystemExit("the metrics tell no connections")
    return {listener: int(count) - (listener == "admin") for listener, count in counts.items()
            if int(count) > (listener == "admin")}


def configuration_in(said):
    """What a sandbox says that belongs into proxy.toml."""
    return said[said.index("[provider.sandbox]"):said.index("Recipients")]


def with_route(configuration, provider):
    """The configuration with a route for one sender, and a limit for each recipient."""
    operations = f"operations = {json.dumps(OPERATIONS[provider])}" if provider in OPERATIONS else ""
    route = ROUTE.format(sender=SENDERS.get(provider, SENDER), operations=operations)
    # No other key comes, for which a refused message would wait longer. After a refusal, one message a second passes.
    configuration = configuration.replace("[credential.sandbox]\n", '[credential.sandbox]\nhold = "1500ms"\n')
    return configuration.replace('\n[[route]]\ncredential = "sandbox"\n', route)


def about_account(configuration, provider):
    """What an application may know of the account. The key comes first in the credential."""
    credential = tomllib.loads(configuration)["credential"]["sandbox"]
    key = pathlib.Path(next(value.removeprefix("file:") for value in credential.values() if value.startswith("file:")))
    public = key.with_suffix(".pub")
    text = (public if public.exists() else key).read_text().strip()
    parameters = {name.upper(): value for name, value in credential.items() if not value.startswith("file:")}
    fingerprint = hashlib.sha256(f"keyside:{text}".encode()).hexdigest()[:12]
    senders = {"SENDER": SENDERS.get(provider, SENDER), "OTHER_SENDER": OTHER_SENDER}
    return {"KEY_FINGERPRINT": fingerprint, **senders, **parameters}


@contextlib.contextmanager
def program(directory, *argv):
    """Runs a program in the background; its log is shown if it, or what ran beside it, fails."""
    name = argv[1]
    log = pathlib.Path(directory, f"{name}.log")
    with log.open("wb") as out:
        process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        yield
        if process.poll() is not None:
            raise SystemExit(f"keyside {name} ended by itself with status {process.returncode}")
    except BaseException:
        sys.stderr.write(f"--- the last of `keyside {name}`:\n{log.read_text(errors='replace')[-4000:]}\n")
        raise
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def wait_for(what, ready, state=lambda: ""):
    end = time.monotonic() + START_SECONDS
    while not ready():
        if time.monotonic() > end:
            raise SystemExit(f"{what} did not come within {START_SECONDS} s: {state()}")
        time.sleep(0.05)


def connects(port, address="127.0.0.1"):
    try:
        socket.create_connection((address, port), 1).close()
        return True
    except OSError:
        return False


def answers(url):
    try:
        return urllib.request.urlopen(url, timeout=1).status == 200
    except (OSError, urllib.error.URLError):
        return False


if __name__ == "__main__":
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3:]))
