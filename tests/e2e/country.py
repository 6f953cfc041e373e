"""Starting, breaking and asking the sandbox country, as a user would from outside."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import dns.edns
import dns.message
import dns.query
import dns.rdatatype
import requests

BIN = os.environ.get("CIVICNET_BIN") or str(
    Path(os.environ.get("CARGO_TARGET_DIR", Path.home() / ".cache/civicnet/target")) / "release/civicnet"
)


def wait_for(condition, seconds=30, what="the condition", every=0.05):
    """Polls until `condition()` is true or returns a value; fails after `seconds`."""
    end = time.monotonic() + seconds
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
        except (OSError, requests.RequestException, AssertionError, dns.exception.DNSException) as error:
            last = error
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {seconds} s; last error: {last!r}")
        time.sleep(every)


def free_port_base(count=60):
    """A run of `count` ports that nobody uses on loopback, judged by asking."""
    for base in range(21000, 60000, count):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(base, base + count):
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port))
                return base
            except OSError:
                continue
    raise AssertionError("no free ports on loopback")


class Country:
    """One running sandbox."""

    def __init__(self, directory, traffic=0, env=None):
        self.dir = Path(directory)
        self.env = env or {}
        self.base = free_port_base()
        self.traffic = traffic
        self.process = None
        self.log = self.dir / "up.log"

    def start(self, seconds=90):
        self.dir.mkdir(parents=True, exist_ok=True)
        self.endpoints_file.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [BIN, "up", "--dir", str(self.dir), "--port-base", str(self.base), "--traffic", str(self.traffic)],
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "CIVICNET_RESTART_MS": "1000", **self.env},
            )
        wait_for(self._up, seconds, "the sandbox")
        return self

    def _up(self):
        if self.process.poll() is not None:
            tail = self.log.read_text(errors="replace")[-3000:]
            raise RuntimeError(f"civicnet up ended with {self.process.returncode}:\n{tail}")
        return self.endpoints_file.exists()

    def stop(self, seconds=30):
        """Ctrl-C, and the exit code."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                raise AssertionError("Ctrl-C did not end the sandbox") from None
        return self.process.returncode if self.process else None

    @property
    def endpoints_file(self):
        return self.dir / "endpoints.json"

    def at(self, name):
        return json.loads(self.endpoints_file.read_text())[name]

    def logins(self):
        return json.loads((self.dir / "logins.json").read_text())

    def node_pid(self, node):
        return int((self.dir / "nodes" / node / "pid").read_text())

    def kill_node(self, node, sig=signal.SIGKILL):
        os.kill(self.node_pid(node), sig)

    def hold(self, node, held=True):
        """While held, a dead node stays dead."""
        file = self.dir / "nodes" / node / "hold"
        file.touch() if held else file.unlink(missing_ok=True)

    def cli(self, *arguments, **how):
        return subprocess.run([BIN, *arguments], capture_output=True, text=True, timeout=60, env={**os.environ, **self.env}, **how)

    # --- asking as a user of a network -----------------------------------

    def dig(self, name, kind="A", source="127.0.0.1", subnet=None, tcp=False):
        host, port = self.at("dispatch_dns").rsplit(":", 1)
        query = dns.message.make_query(name, kind)
        if subnet:
            address, bits = subnet.split("/")
            query.use_edns(options=[dns.edns.ECSOption(address, int(bits))])
        ask = dns.query.tcp if tcp else dns.query.udp
        return ask(query, host, port=int(port), source=source, timeout=3)

    def addresses(self, name, **how):
        answer = self.dig(name, **how)
        return [r.address for rrset in answer.answer if rrset.rdtype == dns.rdatatype.A for r in rrset]

    def get(self, edge, host, path="/", **how):
        """A page of `host` through `edge` (`hsinchu` …), over plain HTTP."""
        headers = {"Host": host, **how.pop("headers", {})}
        return requests.request(how.pop("method", "GET"), self.at(f"edge_{edge}_http") + path, headers=headers,
                                timeout=how.pop("timeout", 15), allow_redirects=False, **how)
