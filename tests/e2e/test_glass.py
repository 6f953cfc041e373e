"""The sandbox's exchange: real BIRDs on loopback, their agents, and the looking glass in the console."""

import json
import re
import socket
import time

import requests

from country import wait_for

API = "/exchange/glass"
REASONS = {
    "140.110.9.0/25": "prefix-too-long",
    "10.7.0.0/16": "bogon-prefix",
    "8.8.8.0/24": "irr-prefix",
    "9.9.9.0/24": "irr-origin",
    "32.0.0.0/7": "prefix-too-short",
    "163.28.16.0/21": "rpki-invalid",
    "140.111.0.0/16": "too-many-communities",
    "163.29.0.0/16": "never-via-route-server",
    "163.30.0.0/16": "bogon-asn",
    "163.31.0.0/16": "path-too-long",
    "8.8.4.4/32": "blackhole-not-own",
}


def ask(country, path, status=200, **parameters):
    answer = requests.get(country.at("api") + API + path, params=parameters, timeout=10)
    assert answer.status_code == status, f"{path}: {answer.status_code} {answer.text}"
    return answer.json()


def birdc(directory, command):
    """Says something to the BIRD of a member, or of the agent in that folder."""
    node = directory / "node.toml"
    told = re.search(r'bird_socket = "(.*)"', node.read_text()) if node.exists() else None
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(told.group(1) if told else str(directory / "bird.ctl"))
        s.recv(4096)
        s.sendall(command.encode() + b"\n")
        return s.recv(65536).decode()


def sessions_up(country, site, count):
    sessions = ask(country, f"/{site}/sessions")
    up = [one for one in sessions if one["state"] == "up"]
    assert len(up) == count, json.dumps(sessions)[:2000]
    return sessions


def established(country):
    for site, count in (("hsinchu", 4), ("taichung", 2), ("tainan", 2)):
        wait_for(lambda: sessions_up(country, site, count), 60, f"{count} sessions at {site}", every=0.2)


def route(country, prefix, site="hsinchu"):
    found = ask(country, f"/{site}/routes", prefix=prefix)["items"]
    return found[0] if found else None


def test_sessions_come_up_and_every_reason_is_told(country):
    established(country)
    for prefix, reason in REASONS.items():
        shown = wait_for(lambda: route(country, prefix), 20, prefix)
        assert shown["state"] == "filtered", shown
        assert [one["key"] for one in shown["reasons"]] == [reason], (prefix, shown["reasons"])
    good = route(country, "140.110.0.0/16")
    assert good["state"] == "best" and good["rpki"]["state"] == "valid", good
    assert good["rpki"]["vrp"] == {"prefix": "140.110.0.0/16", "max_length": 24, "asn": 7539}
    assert ask(country, "/hsinchu/routes", matching="longest", prefix="211.79.50.1")["items"][0]["network"] == "211.79.48.0/21"
    assert ask(country, "/hsinchu/routes", origin="AS9264")["total"] == 1
    assert ask(country, "/hsinchu/routes", community="0:4782")["total"] == 1


def test_birdwatchers_clients_are_answered(country):
    established(country)
    glass = country.at("glass_hsinchu")
    told = requests.get(glass + "/protocols/bgp", timeout=10).json()["protocols"]
    name = next(name for name, one in told.items() if one["neighbor_as"] == 1659)
    refused = requests.get(f"{glass}/routes/filtered/{name}", timeout=10).json()["routes"]
    assert {one["network"] for one in refused} >= {"10.7.0.0/16", "8.8.8.0/24"}
    exported = requests.get(f"{glass}/routes/export/{name}", timeout=10).json()["routes"]
    assert "140.110.0.0/16" in {one["network"] for one in exported}
    # ASNet asks not to be announced to GSN.
    gsn = next(name for name, one in told.items() if one["neighbor_as"] == 4782)
    withheld = requests.get(f"{glass}/routes/noexport/{gsn}", timeout=10).json()["routes"]
    assert "140.109.0.0/16" in {one["network"] for one in withheld}
    # Probing is for the control plane alone.
    answer = requests.post(glass + "/glass/probes", json={"kind": "ping", "target": "127.72.1.11"}, timeout=10)
    assert answer.status_code == 403


def test_a_refused_route_and_a_new_roa_show_within_two_seconds(country):
    established(country)
    member = country.dir / "exchange/as7539"
    text = (member / "bird.conf").read_text()
    (member / "bird.conf").write_text(text.replace("  route 211.79", "  route 192.168.7.0/24 blackhole;\n  route 211.79"))
    began = time.monotonic()
    assert "econfigur" in birdc(member, "configure")
    wait_for(lambda: route(country, "192.168.7.0/24"), 10, "the refused route", every=0.02)
    assert time.monotonic() - began < 2
    assert route(country, "192.168.7.0/24")["reasons"][0]["key"] == "bogon-prefix"

    assert route(country, "211.79.48.0/21")["rpki"]["state"] == "not-found"
    up_since = {one["protocol"]: one["since"] for one in ask(country, "/hsinchu/sessions")}
    file = country.dir / "rpki/vrps.json"
    roas = json.loads(file.read_text())
    roas["roas"].append({"asn": "AS7539", "prefix": "211.79.48.0/21", "maxLength": 24, "ta": "sandbox"})
    began = time.monotonic()
    (country.dir / "rpki/vrps.new").write_text(json.dumps(roas))
    (country.dir / "rpki/vrps.new").rename(file)
    wait_for(lambda: route(country, "211.79.48.0/21")["rpki"]["state"] == "valid", 10, "the label", every=0.02)
    assert time.monotonic() - began < 2
    assert {one["protocol"]: one["since"] for one in ask(country, "/hsinchu/sessions")} == up_since


def test_a_dead_daemon_is_said_and_an_agent_goes_on_without_control(fragile):
    established(fragile)
    node = fragile.dir / "nodes/exchange-tainan"
    (node / "hold-bird").touch()
    status = birdc(node, "down")
    assert status
    wait_for(lambda: next(one for one in ask(fragile, "") if one["site"] == "tainan")["status"]["problem"], 10, "the problem", every=0.1)
    (node / "hold-bird").unlink()
    wait_for(lambda: sessions_up(fragile, "tainan", 2), 60, "the sessions of Tainan", every=0.2)

    glass = fragile.at("glass_taichung")
    fragile.hold("control")
    fragile.kill_node("control")
    try:
        sessions = requests.get(glass + "/glass/sessions", timeout=10).json()
        assert all(one["state"] == "up" for one in sessions), sessions
        fragile.kill_node("exchange-taichung")
        # It comes back with its last good configuration.
        wait_for(lambda: all(one["state"] == "up" for one in requests.get(glass + "/glass/sessions", timeout=10).json()), 30, "the agent")
    finally:
        fragile.hold("control", False)
    wait_for(lambda: requests.get(fragile.at("api") + API, timeout=5).ok, 60, "the console")


def test_the_pages_in_both_languages_for_everybody(country):
    established(country)
    console = country.at("console")
    for lang, words in (("zh-TW", "路由觀測"), ("en", "Looking glass")):
        headers = {"accept-language": lang}
        page = requests.get(console + "/glass", headers=headers, timeout=10)
        assert page.status_code == 200 and words in page.text
        for site in ("hsinchu", "taichung", "tainan"):
            assert f"/glass/{site}" in page.text
    page = requests.get(console + "/glass/hsinchu/route", params={"prefix": "163.28.16.0/21"}, headers={"accept-language": "en"}, timeout=10)
    assert page.status_code == 200
    assert "RPKI origin validation says invalid" in page.text and "163.28.0.0/16" in page.text
    page = requests.get(console + "/glass/search", params={"prefix": "<script>", "site": "hsinchu"}, timeout=10)
    assert page.status_code == 200 and "<script>" not in page.text.replace("<script src", "")
    assert requests.get(console + "/glass/nowhere", timeout=10).status_code == 404
    # Differences and probes are for members and officers.
    answer = requests.get(console + "/glass/hsinchu/changes", timeout=10, allow_redirects=False)
    assert answer.status_code in (302, 303, 401, 403), answer.status_code
