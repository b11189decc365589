#!/usr/bin/env python3
"""stand.py KEYSIDE PROVIDER VARIABLE COMMAND...: runs COMMAND as an application of alias mode, in a network of its own.

Everything stands in a user, network and mount namespace of its own. The provider's names lead Keyside to a sandbox, and they lead
COMMAND to Keyside: each has its own /etc/hosts. COMMAND runs an SDK as its users install it, with no setting for the address and
without a credential. It gets, in its environment:
  VARIABLE   the one of those that `keyside ca` prints with which the SDK trusts Keyside
  SANDBOX_URL, SANDBOX_CA, KEY_FINGERPRINT, ...            as in ../stand.py
"""

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parent.parent))
from stand import about_account, answers, configuration_in, connects, must_have_no_connections, program, wait_for, with_route  # noqa: E402

SANDBOX, KEYSIDE, MEDIA = "127.0.0.1", "127.0.0.2", "127.0.0.3"
LISTEN = f"""\
[outbound]
listen = ["127.0.0.1:8080"]

[admin]
listen = ["127.0.0.1:9900"]

[outbound.tls]
listen = ["{KEYSIDE}:443"]
cert = "{{dir}}/ca/alias.pem"
key = "{{dir}}/ca/alias.key"

"""
META = """\
[provider.sandbox]
extends = "meta"
ca = "{dir}/sandbox/ca.pem"

[credential.sandbox]
provider = "sandbox"
token = "file:{dir}/sandbox/token"

[[route]]
credential = "sandbox"
operations = ["messages", "media", "templates"]
"""
# Variables that may name other authorities for the SDK.
TRUST_VARIABLES = ("NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
# Hosts of the provider, at the sandbox. Meta's second host serves media.
HOSTS = {
    "meta": {"graph.facebook.com": SANDBOX, "lookaside.fbsbx.com": MEDIA},
    "twilio": {host: SANDBOX for host in ("api.twilio.com", "messaging.twilio.com", "content.twilio.com")},
    "vonage": {"api.nexmo.com": SANDBOX, "api-us.vonage.com": SANDBOX},
    "messagebird": {"conversations.messagebird.com": SANDBOX},
    "plivo": {"api.plivo.com": SANDBOX},
    "zenvia": {"api.zenvia.com": SANDBOX},
}


def main(keyside, provider, variable, command):
    with tempfile.TemporaryDirectory(prefix="keyside-alias-") as directory, contextlib.ExitStack() as running:
        directory = pathlib.Path(directory)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        use_hosts(directory, "keyside-hosts", HOSTS[provider])
        sandbox = directory / "sandbox"
        more = ("--provider", provider)
        if provider == "meta":
            more = ("--media-listen", f"{MEDIA}:443", "--media-host", "lookaside.fbsbx.com")
        running.enter_context(program(directory, keyside, "sandbox", "--dir", sandbox, "--listen", f"{SANDBOX}:443", *more))
        said = directory / "sandbox.log"
        wait_for("the sandbox", lambda: "Recipients" in said.read_text() and connects(443, SANDBOX))

        account = META.format(dir=directory)
        if provider != "meta":
            account = with_route(with_real_hosts(configuration_in(said.read_text())), provider)
        config = directory / "proxy.toml"
        config.write_text(LISTEN.format(dir=directory) + account)
        made = subprocess.run([keyside, "ca", directory / "ca", "--config", config], check=True, capture_output=True, text=True)
        for host in HOSTS[provider]:
            if host not in made.stdout:
                raise SystemExit(f"`keyside ca` made no certificate for {host}:\n{made.stdout}")
        running.enter_context(program(directory, keyside, "run", "--config", config))
        wait_for("keyside", lambda: answers("http://127.0.0.1:9900/readyz"))

        own = {} if provider == "meta" else about_account(account, provider)
        environment = dict(os.environ, SANDBOX_URL=f"https://{SANDBOX}", SANDBOX_CA=str(sandbox / "ca.pem"), **own)
        for other in TRUST_VARIABLES:
            environment.pop(other, None)
        environment[variable] = value_of(variable, made.stdout)
        hosts = write_hosts(directory, "application-hosts", dict.fromkeys(HOSTS[provider], KEYSIDE))
        inner = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', hosts, *command]
        status = subprocess.run(inner, env=environment).returncode
        must_have_no_connections("http://127.0.0.1:9900")
        return status


def value_of(variable, said):
    """The value of a variable, as `keyside ca` prints it."""
    return next(word.removeprefix(f"{variable}=") for word in said.split() if word.startswith(f"{variable}="))


def with_real_hosts(account):
    """The sandbox's account at the hosts of the preset, where the sandbox is found under their names."""
    lines = [line for line in account.splitlines() if not line.startswith("upstream")]
    return "\n".join(lines).replace("[provider.sandbox.access_token]", "") + "\n"


def write_hosts(directory, name, hosts):
    path = directory / name
    path.write_text("127.0.0.1 localhost\n" + "".join(f"{address} {host}\n" for host, address in hosts.items()))
    return path


def use_hosts(directory, name, hosts):
    subprocess.run(["mount", "--bind", write_hosts(directory, name, hosts), "/etc/hosts"], check=True)


if __name__ == "__main__":
    if len(sys.argv) < 5:
        raise SystemExit(__doc__)
    if not os.environ.get("KEYSIDE_ALIAS_NAMESPACE"):
        os.environ["KEYSIDE_ALIAS_NAMESPACE"] = "yes"
        os.execvp("unshare", ["unshare", "-r", "-n", "-m", sys.executable, *sys.argv])
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3], sys.argv[4:]))
