"""A route server of the sandbox becomes OpenBGPD, as an operator would have it: the console says which daemon runs, the agent
writes, checks and applies its configuration and goes back by itself, the looking glass gives the same reasons as with BIRD
and says what this daemon cannot tell. With Debian's bgpd, which needs root."""

import contextlib
import os
import re
import subprocess
from pathlib import Path

import pytest
import requests

from api import Api, sign_in
from country import wait_for
from test_glass import REASONS, ask, birdc, established, route, sessions_up

SITE = "hsinchu"
BGPD = Path("/usr/sbin/bgpd")
# Its parts give up their rights in a folder below /run, which a tmpfs of its own stands for.
NAMESPACE = "mount -t tmpfs tmpfs /run && mkdir /run/openbgpd && exec /usr/sbin/bgpd -d -f \"$1\""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="bgpd needs root")


@contextlib.contextmanager
def openbgpd(directory):
    """The daemon on the file that the agent wrote, with the site's IPv6 address, without which it does not begin."""
    own = re.search(r"^listen on (\S*:\S*) port", (directory / "bgpd.conf").read_text(), re.M)
    address = ["address", own[1] + "/128", "dev", "lo"] if own else None
    if address:
        subprocess.run(["ip", address[0], "replace", *address[1:]], check=True)
    with (directory / "bgpd.log").open("ab") as log:
        process = subprocess.Popen(["unshare", "--mount", "sh", "-c", NAMESPACE, "sh", str(directory / "bgpd.conf")],
                                   stdout=log, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        if address:
            subprocess.run(["ip", address[0], "delete", *address[1:]], check=True)


def applied(country):
    """The site's page of the looking glass, in words."""
    page = sign_in(country, "operator").get(country.at("console") + f"/glass/{SITE}", timeout=20)
    return re.sub(r"<[^>]+>", " ", page.text)


def state(country):
    """What became of the newest configuration."""
    return next(one for one in ask(country, "") if one["site"] == SITE)["applied"]["state"]


def site(country):
    told = next(one for one in ask(country, "") if one["site"] == SITE)["status"]
    assert told["engine"] == "openbgpd", told
    return told


def test_a_route_server_becomes_openbgpd(fragile):
    assert BGPD.exists(), "Debian's package openbgpd is missing"
    country = fragile
    established(country)
    api = Api(country, "operator")
    server = next(one for one in api.get("/exchange/route-servers")["items"] if one["label"] == f"rs-{SITE}")
    path = f"/exchange/route-servers/{server['id']}"
    assert server["fields"]["engine"] == "bird"
    refused = api.call("PATCH", path, 422, json={"engine": "quagga"}).json()
    assert "engine" in str(refused), refused
    directory = country.dir / f"nodes/exchange-{SITE}"
    (directory / "hold-bird").touch()
    assert birdc(directory, "down")
    api.call("PATCH", path, 200, json={"engine": "openbgpd"})

    # The agent checks it with `bgpd -n` and writes it for the daemon's start.
    conf = directory / "bgpd.conf"
    wait_for(conf.exists, 30, "the file of OpenBGPD")
    assert "rde rib Refused" in conf.read_text()
    wait_for(lambda: site(country)["problem"], 30, "nobody answers yet")
    with openbgpd(directory):
        # The tables of before stay in sight until there are new ones.
        try:
            wait_for(lambda: site(country)["problem"] is None, 30, "the daemon's answer")
        except AssertionError as error:
            raise AssertionError((directory / "bgpd.log").read_text()[-3000:]) from error
        wait_for(lambda: sessions_up(country, SITE, 4), 90, "four sessions with OpenBGPD", every=0.5)
        for prefix, reason in REASONS.items():
            shown = wait_for(lambda prefix=prefix: route(country, prefix), 30, prefix)
            assert shown["state"] == "filtered", shown
            assert [one["key"] for one in shown["reasons"]] == [reason], (prefix, shown["reasons"])
        good = route(country, "140.110.0.0/16")
        assert good["state"] == "best" and good["rpki"]["state"] == "valid", good
        wait_for(lambda: "OpenBGPD" in applied(country), 20, "the page")
        page = applied(country)
        assert "BFD" in page and "AS 0" in page
        # What is announced and what is kept from whom.
        sessions = {one["neighbor_as"]: one["protocol"] for one in ask(country, f"/{SITE}/sessions")}
        for prefix, list_, asn in (("140.110.0.0/16", "export", 1659), ("140.109.0.0/16", "noexport", 4782)):
            told = requests.get(f"{country.at('glass_hsinchu')}/routes/{list_}/{sessions[asn]}", timeout=20)
            assert told.status_code == 200, told.text
            assert prefix in {one["network"] for one in told.json()["routes"]}, (list_, told.text)

        # By hand, from a document: the same daemon is checked, compared and left as it is.
        socket = re.search(r'openbgpd_socket = "(.*)"', (directory / "node.toml").read_text())[1]
        document = country.dir / "members.json"
        exported = country.cli("exchange", "export", "--config", str(country.dir / "control.toml"))
        document.write_text(exported.stdout)
        registry = [word for file in sorted((country.dir / "exchange").glob("*.rpsl")) for word in ("--irr-file", str(file))]
        words = ["--members", str(document), "--site", SITE, "--socket", socket, *registry]
        told = country.cli("exchange", "render", *words, "--out", str(country.dir / "out"))
        assert told.returncode == 0, told.stderr
        told = country.cli("exchange", "apply", *words, "--config", str(conf), "--dry-run")
        assert told.returncode == 0 and ("unchanged" in told.stdout or "in order, not applied" in told.stdout), told
        # The other daemon's is refused there.
        told = country.cli("exchange", "render", *words, "--engine", "bird", "--out", str(country.dir / "out"))
        assert told.returncode != 0 and "runs openbgpd" in told.stderr, told
    wait_for(lambda: site(country)["problem"], 30, "the problem")
