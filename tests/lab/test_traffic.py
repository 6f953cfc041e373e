"""Counters and samples of real agents: Debian's snmpd and pmacct's sFlow probe in network namespaces.

A member sends another a known number of octets over a link; the poller and the collector must see them.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from lab import run, wait

SBIN = os.environ.get("PATH", "") + ":/usr/sbin"
SNMPD = shutil.which("snmpd", path=SBIN)
PMACCTD = shutil.which("pmacctd", path=SBIN)
FRAMES, PAYLOAD = 4000, 900
SEND = """
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range({frames}):
    s.sendto(b'x' * {payload}, ('10.91.0.2', 9))
    if i % 10 == 0: time.sleep(0.01)
"""


class World:
    """Two members joined by a link; the second end stands for the switch's port."""

    def __init__(self):
        for program, package in ((SNMPD, "snmpd"), (PMACCTD, "pmacct")):
            assert program, f"the Debian package {package} is missing"
        self.dir = Path(tempfile.mkdtemp(prefix="civicnet-traffic-"))
        self.children, self.logs = [], []
        mark = f"ct{os.getpid()}"
        self.sender, self.switch = f"{mark}a", f"{mark}b"
        for name in (self.sender, self.switch):
            run("ip", "netns", "add", name)
        run("ip", "link", "add", "m0", "netns", self.sender, "type", "veth", "peer", "name", "port1", "netns", self.switch)
        for name, link, address in ((self.sender, "m0", "10.91.0.1"), (self.switch, "port1", "10.91.0.2")):
            self.inside(name, "ip", "link", "set", link, "up")
            self.inside(name, "ip", "link", "set", "lo", "up")
            self.inside(name, "ip", "address", "add", f"{address}/24", "dev", link)

    def inside(self, name, *command, **options):
        return run("ip", "netns", "exec", name, *command, **options)

    def start(self, *command, env=None, log="log"):
        path = self.dir / log
        with open(path, "ab") as out:
            child = subprocess.Popen(["ip", "netns", "exec", self.switch, *map(str, command)], stdout=out, stderr=out,
                                     env={**os.environ, **(env or {})}, start_new_session=True)
        self.children.append(child)
        return child, path

    def mac(self, name, link):
        return json.loads(self.inside(name, "ip", "-j", "link", "show", link).stdout)[0]["address"]

    def send(self):
        self.inside(self.sender, "python3", "-c", SEND.format(frames=FRAMES, payload=PAYLOAD))

    def close(self):
        for child in self.children:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()
        for name in (self.sender, self.switch):
            run("ip", "netns", "del", name, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)


@pytest.fixture
def world():
    world = World()
    try:
        yield world
    finally:
        world.close()


def lines(path):
    found = []
    for line in path.read_text(errors="replace").splitlines():
        if line.startswith("{"):
            found.append(json.loads(line))
    return found


def test_the_poller_counts_what_a_port_carried(world):
    (world.dir / "snmpd.conf").write_text(
        "createUser noc SHA-256 authentication256 AES privacy256\nrouser noc priv\n")
    # Its own file of that folder is called snmpd.conf too: it must not be the one that we wrote.
    kept = world.dir / "kept"
    kept.mkdir()
    world.start(SNMPD, "-f", "-Le", "-C", "-c", world.dir / "snmpd.conf", "-p", world.dir / "pid", "udp:127.0.0.1:1161",
                env={"SNMP_PERSISTENT_DIR": str(kept), "MIBS": ""}, log="snmpd.log")
    command = [os.environ["CIVICNET_BIN"], "exchange", "poll", "--target", "127.0.0.1:1161", "--user", "noc", "--auth", "sha256",
               "--interval", "2", "--json"]
    secrets = {"CIVICNET_SNMP_AUTH": "authentication256", "CIVICNET_SNMP_PRIV": "privacy256"}

    def begun():
        child, path = world.start(*command, env=secrets, log="poll.log")
        wait("an answer or an end", lambda: child.poll() is not None or lines(path), 20)
        return path if child.poll() is None else None

    path, _ = wait("snmpd answers", begun, 30)
    world.send()
    expected = FRAMES * (PAYLOAD + 28 + 14)

    def counted():
        readings = [line for line in lines(path) if line["name"] == "port1" and line.get("seconds")]
        return sum(line["in_octets"] for line in readings) >= expected and readings

    readings, _ = wait("the octets are counted", counted, 60)
    total = sum(line["in_octets"] for line in readings)
    assert expected <= total <= expected * 1.02 + 10_000, (expected, total)
    assert all(line["up"] for line in readings)


def test_the_collector_estimates_who_sends_to_whom(world):
    rate = 10
    (world.dir / "pmacct.conf").write_text(
        "daemonize: false\npcap_interface: port1\nplugins: sfprobe\nsfprobe_receiver: 127.0.0.1:6343\n"
        f"sfprobe_agentip: 192.0.2.1\nsfprobe_agentsubid: 1\nsampling_rate: {rate}\n"
        "aggregate: src_mac, dst_mac, src_host, dst_host\n")
    _, path = world.start(os.environ["CIVICNET_BIN"], "exchange", "sflow", "--listen", "127.0.0.1:6343", "--seconds", "5",
                          "--json", log="sflow.log")
    wait("the collector listens", lambda: "taking samples" in path.read_text())
    _, log = world.start(PMACCTD, "-f", world.dir / "pmacct.conf", log="pmacct.log")
    wait("the probe exports", lambda: "Sampling at" in log.read_text())
    pair = (world.mac(world.sender, "m0"), world.mac(world.switch, "port1"))
    world.send()
    frames = (PAYLOAD + 28 + 14 + 4)

    def estimated():
        seen = [line for line in lines(path) if (line["from"], line["to"]) == pair]
        return sum(line["samples"] for line in seen) >= FRAMES / rate / 2 and seen

    wait("samples come", estimated, 60)
    # What is still on its way comes with the next sum.
    shown = path.read_text().count("pairs in 5 s")
    wait("two more sums", lambda: path.read_text().count("pairs in 5 s") >= shown + 2, 30)
    seen = estimated()
    octets, samples = sum(line["octets"] for line in seen), sum(line["samples"] for line in seen)
    # One of ten, by chance: five standard deviations are some 25 % of 400.
    assert abs(octets - FRAMES * frames) < 0.3 * FRAMES * frames, (octets, FRAMES * frames)
    assert sum(line["packets"] for line in seen) == samples * rate
    assert "0 could not be read" in path.read_text()
