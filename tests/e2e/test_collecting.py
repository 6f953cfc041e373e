"""A site's agent reads its switch and takes its samples: the figures reach the lake and the console, and nothing of
them is lost when the agent is replaced. The switch is Debian's snmpd."""

import os
import re
import shutil
import socket
import struct
import subprocess

import pytest
import requests

from api import Api
from country import wait_for

SNMPD = shutil.which("snmpd", path=os.environ.get("PATH", "") + ":/usr/sbin")
# Where the sandbox's model has the switch hs-sw1.
SWITCH = "127.72.1.250"
SECRETS = {"auth_password": "authentication256", "priv_password": "privacy256"}
RATE, SAMPLES, FRAME = 1000, 40, 1000


def free_udp_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((SWITCH, 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def switch(tmp_path_factory):
    """The port of an agent that answers for `hs-sw1`."""
    assert SNMPD, "install Debian's package snmpd"
    directory = tmp_path_factory.mktemp("snmpd")
    port = free_udp_port()
    (directory / "snmpd.conf").write_text(
        f"createUser noc SHA-256 {SECRETS['auth_password']} AES {SECRETS['priv_password']}\nrouser noc priv\n")
    # Its own file of that folder is called snmpd.conf too: it must not be the one that we wrote.
    (directory / "kept").mkdir()
    with open(directory / "log", "ab") as log:
        agent = subprocess.Popen([SNMPD, "-f", "-Le", "-C", "-c", directory / "snmpd.conf", "-p", directory / "pid", f"udp:{SWITCH}:{port}"],
                                 stdout=log, stderr=log, env={**os.environ, "SNMP_PERSISTENT_DIR": str(directory / "kept"), "MIBS": ""})
    yield port
    agent.kill()
    agent.wait()


def metrics(country, site="hsinchu"):
    """Figures by name and labels."""
    text = requests.get(country.at(f"agent_{site}_metrics"), timeout=5).text
    return {name: float(value) for name, value in re.findall(r"^(civicnet_exchange_\S+) (\S+)$", text, re.M)}


def of_switch(figures, name, switch="hs-sw1"):
    return figures.get(f'civicnet_exchange_{name}{{switch="{switch}"}}')


def datagram(number, packets):
    """One datagram of sFlow version 5 with `packets` samples of TWAREN's frames to TANet."""
    frame = bytes.fromhex("0207fa010115" + "0207fa01010b" + "0800" + "45000028000000004011000c8c6e0001a31c000100350035") + bytes(40)
    padding = -len(frame) % 4
    record = struct.pack("!IIIIII", 1, 16 + len(frame) + padding, 1, FRAME, 4, len(frame)) + frame + bytes(padding)
    samples = b""
    for at in range(packets):
        body = struct.pack("!IIIIIIII", at + 1, 1, RATE, RATE * (at + 1), 0, 1, 2, 1) + record
        samples += struct.pack("!II", 1, len(body)) + body
    return struct.pack("!II4sIIII", 5, 1, socket.inet_aton(SWITCH), 0, number, 1000 * number, packets) + samples


def send(country, count, first=1):
    host, port = country.at("sflow_hsinchu").rsplit(":", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((SWITCH, 0))
        for number in range(first, first + count):
            sender.sendto(datagram(number, 10), (host, int(port)))


def test_an_agent_collects_and_its_figures_reach_the_console(country, switch):
    api = Api(country, "operator")
    found = next(one for one in api.get("/exchange/traffic-switches") if one["name"] == "hs-sw1")
    # Nobody has said how it is read: there is nothing to read, at any site.
    assert of_switch(metrics(country), "polls_total") is None
    port = api.call("POST", "/exchange/ports", 201, json={"switch": "hs-sw1", "name": "lo", "role": "service", "speed_mbps": 10_000, "state": "active"}).json()
    api.call("PUT", f"/exchange/traffic-switches/{found['switch']}", 204, json={
        "version": "v3", "port": switch, "interval_s": 5, "user": "noc", "auth_protocol": "sha256", **SECRETS})
    wait_for(lambda: (of_switch(metrics(country), "polls_total") or 0) >= 2, 60, "two readings", every=0.2)
    figures = metrics(country)
    assert of_switch(figures, "poll_failures_total") == 0, figures
    assert of_switch(figures, "poll_ports") == 1 and of_switch(figures, "poll_ports_missing") > 0
    assert of_switch(figures, "poll_age_seconds") < 30
    # Other sites' agents leave it alone.
    assert of_switch(metrics(country, "tainan"), "polls_total") is None
    carried = wait_for(lambda: [step for step in api.get(f"/exchange/traffic/ports/{port['id']}", params={"seconds": 3600}) if step["in_bps"] > 0],
                       60, "rates of the port in the console", every=0.5)
    # What goes into a loopback comes out of it.
    assert all(abs(step["in_bps"] - step["out_bps"]) <= 0.02 * step["in_bps"] + 1000 for step in carried), carried

    send(country, 4)
    wait_for(lambda: metrics(country)["civicnet_exchange_sflow_samples_total"] == SAMPLES, 10, "samples")
    assert metrics(country)["civicnet_exchange_sflow_lost_total"] == 0
    # A switch of nobody's is refused, and so is nonsense.
    host, sflow = country.at("sflow_hsinchu").rsplit(":", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(datagram(1, 1).replace(socket.inet_aton(SWITCH), socket.inet_aton("192.0.2.99"), 1), (host, int(sflow)))
        sender.sendto(b"nonsense", (host, int(sflow)))
    wait_for(lambda: metrics(country)["civicnet_exchange_sflow_refused_total"] == 2, 10, "the refusals")

    # A successor takes over: what was counted of this minute is told, samples that come meanwhile wait for it.
    before = country.node_pid("exchange-hsinchu")
    told = country.cli("reload", "--config", str(country.dir / "nodes/exchange-hsinchu/node.toml"))
    assert told.returncode == 0, told.stderr
    assert country.node_pid("exchange-hsinchu") != before
    send(country, 2, first=5)
    wait_for(lambda: metrics(country)["civicnet_exchange_sflow_samples_total"] == SAMPLES / 2, 20, "the successor's samples")
    wait_for(lambda: (of_switch(metrics(country), "polls_total") or 0) >= 1, 60, "the successor's readings", every=0.2)

    members = {one["fields"]["asn"]: one["id"] for one in api.get("/exchange/members")["items"]}

    def pair():
        pairs = api.get("/exchange/traffic-matrix", params={"seconds": 3600})
        return next((one for one in pairs if (one["from"], one["to"]) == (members[7539], members[1659])), None)

    shown = wait_for(pair, 30, "who sends to whom", every=0.5)
    # The successor tells its own when their minute is over.
    assert shown["samples"] in (SAMPLES, SAMPLES * 3 // 2), shown
    assert shown["octets"] == shown["samples"] * RATE * FRAME, shown


def test_a_silent_switch_is_counted(country, switch):
    api = Api(country, "operator")
    found = next(one for one in api.get("/exchange/traffic-switches") if one["name"] == "tn-sw1")
    # Nobody listens there.
    api.call("PUT", f"/exchange/traffic-switches/{found['switch']}", 204, json={
        "version": "v2c", "port": 9, "interval_s": 5, "community": "public"})
    wait_for(lambda: (of_switch(metrics(country, "tainan"), "poll_failures_total", "tn-sw1") or 0) >= 1, 60, "a failure", every=0.2)
    api.call("PUT", f"/exchange/traffic-switches/{found['switch']}", 204, json={"version": "none"})
    wait_for(lambda: of_switch(metrics(country, "tainan"), "polls_total", "tn-sw1") is None, 30, "left alone", every=0.2)
