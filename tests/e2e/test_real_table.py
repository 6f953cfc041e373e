"""A real routing table (RIPE RIS, 2000-01-11) through `civicnet exchange mrt` and through the looking glass: the five
Taiwanese networks, their origins and validity. Not run where the file is not."""

import json
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest
import requests

SHARED = Path(os.environ.get("CIVICNET_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
TABLE = SHARED / "data/ris-rrc00-bview.20000111.0032.gz"
# Prefixes of each origin in that table.
NETWORKS = {"TANet": (1659, 33), "TWAREN": (7539, 74), "ASNet": (9264, 7), "GSN": (4782, 5), "HiNet": (3462, 32)}
pytestmark = pytest.mark.skipif(not TABLE.exists(), reason="not run: ../shared/data is not there")


def civicnet(*arguments):
    done = subprocess.run([os.environ["CIVICNET_BIN"], "exchange", "mrt", str(TABLE), *map(str, arguments)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.fixture(scope="module")
def pairs():
    asns = ",".join(str(asn) for asn, _ in NETWORKS.values())
    return civicnet("--origin", asns, "--json", "--limit", 10_000)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_networks_prefixes_are_all_there(pairs, name):
    asn, count = NETWORKS[name]
    found, said = pairs
    assert len({pair["prefix"] for pair in found if pair["origin"] == asn}) == count
    assert f"AS{asn}: {count} prefixes" in said


def test_the_whole_table_is_read(pairs):
    assert "452018 routes" in pairs[1], pairs[1]


@pytest.fixture(scope="module")
def payloads(tmp_path_factory, pairs):
    """For each network: its first prefix by itself, its second by somebody else, no word on the others."""
    roas = []
    for asn, _ in NETWORKS.values():
        own = sorted({pair["prefix"] for pair in pairs[0] if pair["origin"] == asn}, key=lambda text: (int(text.split("/")[1]), text), reverse=True)
        for prefix, holder in zip(own[:2], (asn, 64999)):
            roas.append({"prefix": prefix, "maxLength": int(prefix.split("/")[1]), "asn": f"AS{holder}", "ta": "test"})
    file = tmp_path_factory.mktemp("table") / "vrps.json"
    file.write_text(json.dumps({"roas": roas}))
    return file, {(roa["prefix"], int(roa["asn"][2:]) != 64999) for roa in roas}


@pytest.mark.parametrize("name", NETWORKS)
def test_validity_is_told_with_the_payload_that_decided(payloads, name):
    asn, count = NETWORKS[name]
    found, _ = civicnet("--origin", asn, "--vrps", payloads[0], "--json", "--limit", 10_000)
    told = {pair["prefix"]: pair for pair in found}
    for prefix, is_own in payloads[1]:
        if prefix in told:
            assert told[prefix]["validity"] == ("valid" if is_own else "invalid"), told[prefix]
            assert prefix in told[prefix]["vrp"]
    assert sum(pair["validity"] == "not-found" for pair in told.values()) == count - 2


def test_the_looking_glass_shows_it(payloads):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([os.environ["CIVICNET_BIN"], "run", "glass", "--mrt", str(TABLE), "--vrps", str(payloads[0]), "--listen", f"127.0.0.1:{port}"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        ask = lambda **question: requests.get(f"http://127.0.0.1:{port}/api/search", params=question, timeout=10)
        until = time.monotonic() + 120
        while True:
            try:
                if ask(origin=1659).status_code == 200:
                    break
            except requests.ConnectionError:
                assert process.poll() is None
            assert time.monotonic() < until, "the table was not read in two minutes"
            time.sleep(0.1)
        for asn, count in NETWORKS.values():
            routes, offset = [], 0
            while page := ask(origin=asn, limit=1000, offset=offset).json()["routes"]:
                routes, offset = routes + page, offset + len(page)
            assert len({route["network"] for route in routes}) == count
            assert {route["rpki"]["state"] for route in routes} == {"valid", "invalid", "not-found"}
            assert all(route["bgp"]["as_path"][-1] == str(asn) for route in routes)
    finally:
        process.terminate()
        process.wait(20)
