"""Tools for all benchmarks: certificates, a mock upstream, proxies in sessions of their own, load, tables.

Standard library only, Linux only."""

import hashlib
import hmac
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
COMPARE = HERE / "compare"
KIT = COMPARE / "kit/target/release/kit"
AUTH = "Bearer EAAGm0PX4ZCpsBAKZC5vZBexampleexampleexampleexampleexampleexampleexampleexampleexampleexampleZD"
SECRET = "6c8f1d0e5b7a4a31b2c49d5e8f701234"
SEND_PATH = "/v23.0/106540352242922/messages"
HOOK_PATH = "/webhook"
UP_HOST = "localhost"
START_SECONDS = 20


class DidNotStart(Exception):
    pass


class Session:
    """A program in a session of its own: everything it forks is accounted and ended with it."""

    def __init__(self, argv, env, core, log):
        with open(log, "ab") as out:
            self.process = subprocess.Popen(["taskset", "-c", core, *map(str, argv)], env=env, stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=out, start_new_session=True)
        self.sid = self.process.pid

    def pids(self):
        found = []
        for directory in filter(str.isdigit, os.listdir("/proc")):
            try:
                stat = pathlib.Path("/proc", directory, "stat").read_text()
            except OSError:
                continue
            fields = stat[stat.rindex(")") + 2:].split()
            if int(fields[3]) == self.sid and fields[0] != "Z":
                found.append(int(directory))
        return found

    def memory(self):
        """Rss and Pss in MiB."""
        kib = {"Rss": 0, "Pss": 0}
        for pid in self.pids():
            try:
                for line in pathlib.Path("/proc", str(pid), "smaps_rollup").read_text().splitlines():
                    key, _, value = line.partition(":")
                    if key in kib:
                        kib[key] += int(value.split()[0])
            except OSError:
                pass
        return kib["Rss"] / 1024, kib["Pss"] / 1024

    def stop(self):
        for kind, seconds in ((signal.SIGTERM, 1.5), (signal.SIGKILL, 3)):
            for pid in self.pids():
                try:
                    os.kill(pid, kind)
                except OSError:
                    pass
            end = time.monotonic() + seconds
            while self.process.poll() is None or self.pids():
                if time.monotonic() > end:
                    break
                time.sleep(0.02)


class Peer:
    """A proxy to measure: `[LABEL=]PEER[,VAR=VALUE...]`, a directory of peers/, or `LABEL=cmd:COMMAND`."""

    def __init__(self, spec):
        command = re.match(r"([\w.+-]+)=cmd:(.*)$", spec, re.S)
        if command:
            self.label, self.variables, self.directory = command[1], {}, None
            self.argv = ["/bin/sh", "-c", "exec env " + command[2]]
            return
        first, *variables = spec.split(",")
        label, _, name = first.rpartition("=")
        self.label = label or name
        self.variables = dict(v.split("=", 1) for v in variables)
        self.directory = COMPARE / "peers" / name
        self.argv = [self.directory / "start"]
        if not os.access(self.argv[0], os.X_OK):
            there = ", ".join(sorted(os.listdir(COMPARE / "peers")))
            raise SystemExit(f"no such peer: {name} (there are: {there})")

    @property
    def reload_script(self):
        script = self.directory / "reload" if self.directory else None
        return script if script and os.access(script, os.X_OK) else None


class Bench:
    """Everything of one run; ends what it started."""

    def __init__(self, kind, options):
        if not KIT.exists():
            subprocess.run(["cargo", "build", "--release", "--locked"], cwd=COMPARE / "kit", check=True)
        self.kind, self.options = kind, options
        self.sessions, self.upstreams, self.spinners = [], {}, []
        self.loads = self.repeated = self.noisy = 0
        self.deadline = time.monotonic() + options.max_seconds
        self.next_port = 18400
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="keyside-bench-"))
        self.pki = self.directory / "pki"
        subprocess.run([COMPARE / "pki.sh", self.pki], check=True)

    def __enter__(self):
        # So that a `timeout` around a run still ends every process it started.
        signal.signal(signal.SIGTERM, lambda *_: exit("ended by SIGTERM"))
        os.sched_setaffinity(0, {int(core) for core in self.options.load_core.split(",")})
        if not self.options.no_spin:
            for core in {*self.options.proxy_core.split(","), *self.options.load_core.split(",")}:
                spinner = self.run([KIT, "spin", f"--secs={self.options.max_seconds + 60}"], core, "spin")
                self.spinners.append(spinner.sid)
        return self

    def __exit__(self, *_):
        for session in list(self.sessions):
            self.end(session)
        if self.options.keep:
            print("kept:", self.directory)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def time_left(self):
        return self.deadline - time.monotonic()

    def free_port(self):
        # Below the ephemeral range, so that no outgoing connection takes it meanwhile.
        while True:
            self.next_port += 1
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    s.bind(("127.0.0.1", self.next_port))
                    return self.next_port
                except OSError:
                    pass

    # --- processes

    def run(self, argv, core, name, env=None):
        session = Session(argv, {**os.environ, **(env or {})}, core, self.directory / f"{name}.log")
        self.sessions.append(session)
        return session

    def end(self, session):
        session.stop()
        if session in self.sessions:
            self.sessions.remove(session)

    def upstream(self, certificate="server", delay_us=0, core=None):
        """A mock upstream on the load's core; `certificate` None: without TLS, as an application."""
        key = (certificate, delay_us, core)
        if key not in self.upstreams:
            port = self.free_port()
            argv = [KIT, "upstream", f"--port={port}", f"--delay-us={delay_us}"]
            if certificate:
                argv += [f"--cert={self.pki}/{certificate}.pem", f"--key={self.pki}/{certificate}.key", f"--auth={AUTH}"]
            session = self.run(argv, core or self.options.load_core, "upstream")
            session.port, session.tls = port, bool(certificate)
            wait_for_listener(port)
            self.upstreams[key] = session
        return self.upstreams[key]

    def start(self, peer, delay_us=0, certificate="server", body_bytes=0):
        """Starts a proxy and waits for its first answer; without a wrong certificate that has to be a 200."""
        port, work = self.free_port(), tempfile.mkdtemp(prefix=f"{peer.label}-", dir=self.directory)
        upstream = self.upstream(certificate if self.kind == "outbound" else None, delay_us)
        env = {"KIND": self.kind, "KIT": str(KIT), "LISTEN_PORT": str(port), "WORK": work, "CA": f"{self.pki}/ca.pem",
               "UP_HOST": UP_HOST, "AUTH": AUTH, "SECRET": SECRET, "MAXBODY_BYTES": str(body_bytes), **peer.variables,
               "UP_PORT" if self.kind == "outbound" else "APP_PORT": str(upstream.port)}
        session = self.run(peer.argv, self.options.proxy_core, peer.label, env)
        session.peer, session.port, session.upstream, session.env = peer, port, upstream, env
        try:
            self.wait_for_answer(session, any_status=certificate != "server")
        except DidNotStart:
            self.end(session)
            raise
        return session

    def wait_for_answer(self, session, any_status):
        started, end = None, time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if session.process.poll() is not None:
                log = self.directory / f"{session.peer.label}.log"
                raise DidNotStart(f"{session.peer.label} ended by itself: {log.read_text(errors='replace').strip()[-300:]}")
            # Start-up counts from the exec of the real program, not of the shell that prepares it.
            if started is None:
                if is_shell(session.sid):
                    time.sleep(0.0002)
                    continue
                started = time.monotonic()
            try:
                session.first_status = self.request(session.port)
            except (http.client.RemoteDisconnected, ConnectionResetError):
                session.first_status = "closed"
            except (OSError, http.client.HTTPException):
                session.first_status = None
            # Traefik answers 404 for a moment, until it has read its routes.
            settled = session.first_status != 404 or time.monotonic() > started + 3
            if session.first_status == 200 or (any_status and session.first_status and settled):
                session.start_ms = (time.monotonic() - started) * 1000
                return
            time.sleep(0.0005)
        raise DidNotStart(f"{session.peer.label}: no 200 in {START_SECONDS} s, but {session.first_status}")

    # --- single requests

    def request(self, port, headers=(), body=b'{"a":1}', signature="right"):
        path, headers = SEND_PATH, {"Content-Type": "application/json", **dict(headers)}
        if self.kind == "inbound":
            path, digest = HOOK_PATH, hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
            if signature == "wrong":
                digest = digest[::-1]
            if signature != "missing":
                headers["X-Hub-Signature-256"] = "sha256=" + digest
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()

    def stats(self, upstream):
        """What a mock upstream has seen."""
        if upstream.tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = http.client.HTTPSConnection("127.0.0.1", upstream.port, timeout=5, context=context)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", upstream.port, timeout=5)
        connection.request("GET", "/__stats")
        stats = json.loads(connection.getresponse().read())
        connection.close()
        return stats

    def faults(self, session):
        """Where a proxy fails to do its job at all: then its speed is of no interest."""
        before = self.stats(session.upstream)
        if self.kind == "outbound":
            statuses = [self.request(session.port, headers) for headers in ({}, {"Authorization": "Bearer client-own"})]
            after = self.stats(session.upstream)
            wrong = [k for k in ("unauth", "multi_auth") if after[k] != before[k]]
            return [f"answered {statuses}"] * (statuses != [200, 200]) + [f"upstream counted {k}" for k in wrong]
        statuses = [self.request(session.port, signature=s) for s in ("wrong", "missing")]
        leaked = self.stats(session.upstream)["ok"] != before["ok"]
        return [f"forgeries answered {statuses}"] * (statuses != [401, 401]) + ["a forgery reached the application"] * leaked

    # --- load

    def load(self, port, conns, secs, rate=0, sid=0, upstream=None, tls=False, warm=None, extra=(), during=None):
        """Load on a port, by the kit. Repeated, twice at most, while something else was busy on this machine."""
        wanted = signal.SIGCONT if rate or conns == 1 else signal.SIGSTOP
        for spinner in self.spinners:
            os.kill(spinner, wanted)
        measured = {sid, upstream.sid if upstream else 0}
        ignored = ",".join(str(s.sid) for s in self.sessions if s.sid not in measured)
        argv = ["taskset", "-c", self.options.load_core, KIT, "load", f"--addr=127.0.0.1:{port}", f"--conns={conns}",
                f"--secs={secs}", f"--rate={rate}", f"--warm={self.options.warm if warm is None else warm}",
                f"--sid={sid}", f"--upsid={upstream.sid if upstream else 0}", f"--ignore-sids={ignored}", *extra]
        if tls:
            argv += [f"--ca={self.pki}/ca.pem", f"--sni={UP_HOST}", f"--header=authorization: {AUTH}"]
        self.loads += 1
        for attempt in range(3):
            process = subprocess.Popen([str(a) for a in argv], stdout=subprocess.PIPE)
            if during:
                during(process)
            result = json.loads(process.communicate(timeout=secs + 30)[0])
            if result["foreign"] < self.options.foreign or during or self.time_left() < 20:
                break
            self.repeated += attempt < 2
        self.noisy += result["foreign"] >= self.options.foreign
        return result

    def noise(self):
        return (f"noise: {self.loads} measurements, {self.repeated} repeated because something else used over "
                f"{self.options.foreign:.0%} of a core, {self.noisy} kept although noisy")


def add_options(parser):
    parser.add_argument("--proxy-core", default="0")
    parser.add_argument("--load-core", default="1")
    parser.add_argument("--no-spin", action="store_true", help="let idle cores halt (in a VM this adds much to every latency)")
    parser.add_argument("--warm", type=float, default=0.4)
    parser.add_argument("--foreign", type=float, default=0.08,
                        help="repeat a measurement during which others used more of a core than this")
    parser.add_argument("--max-seconds", type=float, default=1500)
    parser.add_argument("--keep", action="store_true", help="keep configurations and logs")


def is_shell(pid):
    try:
        program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return True
    return program in ("dash", "sh", "bash", "taskset", "env") or program.startswith("python")


def wait_for_listener(port, seconds=5):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.005)
    raise SystemExit(f"nothing listens on {port}")


def median(values):
    return statistics.median(values) if values else float("nan")


def spread(values):
    return f"{median(values):.1f} ({min(values):.1f}-{max(values):.1f})" if values else "-"


def failures(result):
    return sum(result[k] for k in ("fail_connect", "fail_noreply", "fail_partial")) + result["done"] - result["good"]


def table(head, rows):
    rows = [[str(cell) for cell in row] + [""] * (len(head) - len(row)) for row in rows]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(row):
        cells = [cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))]
        return "| " + " | ".join(cells) + " |"

    print(line(head))
    print("|" + "|".join("-" * (w + 2) for w in widths) + "|")
    for row in rows:
        print(line(row))
    print(flush=True)
