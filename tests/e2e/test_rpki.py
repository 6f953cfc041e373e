"""What the RPKI says: to a router, to a program, to a person; and an edited file of ROAs reaches all three."""

import json
import re
import socket
import struct

import pytest
import requests

from api import Api
from country import wait_for

ROUTE = {"asn": "AS9264", "prefix": "140.109.16.0/20"}


def state(country, asn, prefix):
    answer = requests.get(country.at("rpki") + "/validity", params={"asn": asn, "prefix": prefix}, timeout=10)
    answer.raise_for_status()
    return answer.json()["validated_route"]["validity"]["state"]


def exact(stream, count):
    octets = b""
    while len(octets) < count:
        more = stream.recv(count - len(octets))
        assert more, "the server closed the connection"
        octets += more
    return octets


def payloads(country):
    """What a router loads by RTR (RFC 8210): (prefix as octets, length, maximum, AS), and the serial number."""
    host, port = country.at("rtr").rsplit(":", 1)
    found = set()
    with socket.create_connection((host, int(port)), timeout=10) as stream:
        stream.sendall(struct.pack("!BBHI", 1, 2, 0, 8))
        while True:
            _, kind, _, length = struct.unpack("!BBHI", exact(stream, 8))
            body = exact(stream, length - 8)
            if kind in (4, 6):
                width = 4 if kind == 4 else 16
                found.add((body[4:4 + width], body[1], body[2], struct.unpack("!I", body[4 + width:8 + width])[0]))
            elif kind == 7:
                return found, struct.unpack("!I", body[:4])[0]
            else:
                assert kind == 3, f"unit of type {kind}"


def test_a_route_is_valid_invalid_or_unknown(country):
    assert state(country, **ROUTE) == "valid"
    assert state(country, "AS1659", ROUTE["prefix"]) == "invalid"
    assert state(country, "AS9264", "140.109.16.0/24") == "invalid", "longer than allowed"
    assert state(country, "AS9264", "203.72.1.0/24") == "invalid", "nobody may announce the exchange's own LAN"
    assert state(country, "AS9264", "198.51.100.0/24") == "not-found"
    assert state(country, "AS9264", "192.0.2.0/24") == "valid", "by the local exception"
    path = f"{country.at('rpki')}/api/v1/validity/{ROUTE['asn']}/{ROUTE['prefix']}"
    assert requests.get(path, timeout=10).json()["validated_route"]["validity"]["state"] == "valid"
    wrong = requests.get(country.at("rpki") + "/validity", params={"asn": "x", "prefix": "10.0.0.0/8"}, timeout=10)
    assert wrong.status_code == 400 and "must be a number" in wrong.json()["error"]


def test_a_new_roa_reaches_routers_and_the_console(country):
    console = Api(country, "operator")
    before, serial = payloads(country)
    prefix = "198.51.100.0/24"

    def asked():
        answer = console.call("GET", "/rpki/validity", params={"asn": "AS4782", "prefix": prefix})
        return answer.ok and answer.json()["validated_route"]["validity"]["state"]

    wait_for(lambda: asked() == "not-found", 20, "the console has the data")
    file = country.dir / "rpki" / "vrps.json"
    kept = file.read_text()
    changed = json.loads(kept)
    changed["roas"].append({"asn": "AS4782", "prefix": prefix, "maxLength": 24})
    try:
        file.write_text(json.dumps(changed))
        wait_for(lambda: state(country, "AS4782", prefix) == "valid", 20, "the service has the new ROA")
        now, next_serial = payloads(country)
        assert next_serial == serial + 1
        assert now - before == {(socket.inet_aton("198.51.100.0"), 24, 24, 4782)} and not before - now
        wait_for(lambda: asked() == "valid", 20, "the console follows by RTR")
    finally:
        file.write_text(kept)
    wait_for(lambda: state(country, "AS4782", prefix) == "not-found", 20, "the ROA is gone")


@pytest.mark.parametrize("wrong", ["{\"roas\": [", "{\"roas\": [{\"asn\": 1, \"prefix\": \"10.0.0.0/8\", \"maxLength\": 4}]}"])
def test_a_broken_file_changes_nothing_and_is_told(country, wrong):
    file = country.dir / "rpki" / "vrps.json"
    kept = file.read_text()

    def status():
        return requests.get(country.at("rpki") + "/status", timeout=10).json()

    count = status()["vrps"]
    try:
        file.write_text(wrong)
        wait_for(lambda: status()["degraded"], 20, "the problem is told")
        assert status()["vrps"] == count and state(country, **ROUTE) == "valid"
        metrics = requests.get(country.at("rpki") + "/metrics", timeout=10).text
        assert re.search(r"^civicnet_rpki_problems 1$", metrics, re.M), metrics
    finally:
        file.write_text(kept)
    wait_for(lambda: not status()["degraded"], 20, "the file is good again")
