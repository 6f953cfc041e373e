"""The exchange as a whole: loss of a site, of a port, of a link abroad; the manual switch; refusals and labels within
two seconds; drills. Real packets, real BIRDs; every figure is printed."""

import json
import os
import re
import signal
import subprocess
import time

import pytest

from country import CLOUD, PRIVATE_HOST, WORLD, Country
from lab import civicnet, wait

# Three BFD packets of 50 ms are missed after 150 ms; what is left is for the routers.
SWITCH_MS = 300
LABEL_S = 2.0


@pytest.fixture(scope="module")
def country():
    country = Country()
    try:
        country.build()
        country.settled()
        country.ask = country.glass("hsinchu")
        yield country
    finally:
        country.close()


@pytest.fixture
def show(capsys):
    def say(text):
        with capsys.disabled():
            print(f"\n  {text}", end="", flush=True)
    return say


def told(figures):
    return "; ".join(f"{a} to {b}: {f['sent']} sent, {f['lost']} lost, longest silence {f['silence_ms']:.0f} ms" for (a, b), f in figures.items())


PAIRS = [("twaren", "tanet"), ("tanet", "gsn"), ("gsn", "asnet"), ("asnet", "twaren")]


def restored(country):
    country.settled()
    wait("the first site's way", lambda: country.way("twaren", "163.28.0.1")[:1] == ["twaren-b1"])


def test_a_lost_site_is_bypassed_and_comes_back_without_loss(country, show):
    assert country.way("twaren", "163.28.0.1") == ["twaren-b1", "tanet-b1", "tanet-core"]

    def cut():
        country.cut_site("hsinchu")
        wait("the other way", lambda: country.way("twaren", "163.28.0.1") == ["twaren-b2", "tanet-b2", "tanet-core"], 10)

    figures = country.during(PAIRS, cut)
    show("Hsinchu is cut: " + told(figures))
    assert all(f["silence_ms"] < SWITCH_MS for f in figures.values()), figures

    def back():
        country.cut_site("hsinchu", cut=False)
        restored(country)

    figures = country.during(PAIRS, back)
    show("Hsinchu is back: " + told(figures))
    assert all(f["lost"] == 0 for f in figures.values()), figures


def test_a_bilateral_session_has_bfd_of_its_own(country, show):
    wait("the bilateral way", lambda: country.way("twaren", PRIVATE_HOST) == ["twaren-b1", "tanet-b1", "tanet-core"])
    for server in country.servers.values():
        assert not server.route("163.28.200.0/24"), "a private route is no route server's"

    def cut():
        country.cut_port(country.routers["tanet-b1"], "hsinchu")
        wait("the second session", lambda: country.way("twaren", PRIVATE_HOST) == ["twaren-b2", "tanet-b2", "tanet-core"], 10)

    pairs = [("twaren", "tanet-private"), ("gsn", "tanet")]
    figures = country.during(pairs, cut)
    show("TANet's port at Hsinchu is cut: " + told(figures))
    assert all(f["silence_ms"] < SWITCH_MS for f in figures.values()), figures

    def back():
        country.cut_port(country.routers["tanet-b1"], "hsinchu", cut=False)
        restored(country)
        wait("the bilateral way", lambda: country.way("twaren", PRIVATE_HOST)[:1] == ["twaren-b1"])

    figures = country.during(pairs, back)
    show("and back: " + told(figures))
    assert all(f["lost"] == 0 for f in figures.values()), figures


def test_ways_abroad_back_each_other_up(country, show):
    us, sg, onramp = ((country.routers["twaren-b1"], "intl"), (country.routers["twaren-b2"], "intl"), (country.routers["twaren-b2"], "onramp"))
    assert country.way("twaren", WORLD) == ["twaren-b1", "world"]
    for what, cuts, target, way in (
        ("the link to the United States", [us], "world", ["twaren-b2", "world"]),
        ("Singapore too", [sg], "world", ["twaren-b2", "provider", "world"]),
        ("the cloud's on-ramp", [onramp], "cloud", ["twaren-b2", "provider", "cloud"]),
    ):
        address = WORLD if target == "world" else CLOUD

        def cut():
            for port in cuts:
                country.cut_port(*port)
            wait("the next way", lambda: country.way("twaren", address) == way, 10)

        figures = country.during([("twaren", target), (target, "twaren")], cut)
        show(f"{what} is cut: " + told(figures))
        assert all(f["silence_ms"] < SWITCH_MS for f in figures.values()), figures

    def back():
        for port in (us, sg, onramp):
            country.cut_port(*port, cut=False)
        restored(country)

    figures = country.during([("twaren", "world"), ("world", "twaren"), ("twaren", "cloud")], back)
    show("all back: " + told(figures))
    assert all(f["lost"] == 0 for f in figures.values()), figures


def switch(country, *arguments, **options):
    return civicnet("switch", "--members", country.document_file, "--places", country.places_file, "--asn", "9264", *country.irr(), *arguments, **options)


def test_asnet_is_switched_by_one_command_and_back(country, show):
    before = country.document_file.read_text()
    first = ["tanet-b1", "asnet-b1", "asnet-core"]
    assert country.way("tanet", "140.109.0.1") == first
    said = switch(country, "--to", "tainan", "--dry-run").stdout
    assert "in order, not applied" in said and "bgp_path.prepend(9264)" in said, said
    assert country.document_file.read_text() == before and country.way("tanet", "140.109.0.1") == first

    def over():
        begun = time.monotonic()
        assert "switched: every session" in switch(country, "--to", "tainan", "--watch", "10").stdout
        show(f"ASNet is switched to Tainan by one command in {time.monotonic() - begun:.1f} s (three route servers, each watched for 3 s)")
        wait("the way by Tainan", lambda: country.way("tanet", "140.109.0.1") == ["tanet-b1", "asnet-b2", "asnet-core"])
        wait("the way out by Tainan", lambda: country.way("asnet", "163.28.0.1")[0] == "asnet-b2")

    pairs = [("tanet", "asnet"), ("asnet", "tanet")]
    figures = country.during(pairs, over)
    show("meanwhile " + told(figures))
    assert all(f["lost"] == 0 for f in figures.values()), figures
    assert 'site = "tainan"' in country.document_file.read_text().split("[[preferred_sites]]")[1]

    def undo():
        assert "switched" in switch(country, "--undo", "--watch", "10").stdout
        wait("the way as before", lambda: country.way("tanet", "140.109.0.1") == first)

    figures = country.during(pairs, undo)
    show("undone: " + told(figures))
    assert all(f["lost"] == 0 for f in figures.values()), figures
    assert country.document_file.read_text().rstrip() == before.rstrip()


def test_a_switch_that_one_route_server_refuses_changes_nothing(country):
    before = country.document_file.read_text()
    running = {site: server.conf.read_text() for site, server in country.servers.items()}
    server = country.servers["tainan"]
    os.kill(country.pid(server), signal.SIGSTOP)
    try:
        done = switch(country, "--to", "tainan", check=False)
    finally:
        os.kill(country.pid(server), signal.SIGCONT)
    assert done.returncode == 1 and "tainan" in done.stderr, done
    assert country.document_file.read_text() == before
    assert {site: server.conf.read_text() for site, server in country.servers.items()} == running
    assert "twice" not in done.stderr
    done = switch(country, "--to", "taichung", check=False)
    assert done.returncode == 1 and "must be one of hsinchu, tainan" in done.stderr
    restored(country)


WRONG = [  # who, prefix, path before its number, reason
    ("gsn-b1", "117.56.128.0/17", [], "rpki-invalid"),
    ("tanet-b1", "192.168.7.0/24", [], "bogon-prefix"),
    ("tanet-b1", "163.28.1.0/25", [], "prefix-too-long"),
    ("tanet-b1", "163.28.2.0/24", [174], "never-via-route-server"),
    ("tanet-b1", "163.29.0.0/16", [], "irr-prefix"),
    ("tanet-b1", "203.72.1.0/25", [], "own-lan"),
]


@pytest.mark.parametrize("name, prefix, path, reason", WRONG)
def test_a_wrong_route_is_refused_with_its_reason_within_two_seconds(country, show, name, prefix, path, reason):
    router, session = country.routers[name], f"as{4782 if name == 'gsn-b1' else 1659}_b1_v4"
    try:
        begun = time.monotonic()
        country.announce(router, (prefix, path))
        found, _ = wait("the refusal", lambda: [r for r in country.ask(f"/api/routes/filtered/{session}")["routes"] if r["network"] == prefix], 10, every=0.02)
        took = time.monotonic() - begun
        assert [one["key"] for one in found[0]["reasons"]] == [reason], found
        show(f"{prefix}: refused ({found[0]['reasons'][0]['text']}), seen {took:.2f} s after the announcement")
        assert took < LABEL_S
        # Its transit provider may still have it; from the route servers nobody does.
        assert "[rs_" not in country.routers["twaren-b1"].route(prefix)
    finally:
        country.announce(router)


def sessions(country):
    return {name: since for name, since in re.findall(r"^(\S+) +BGP +\S+ +up +(\S+ \S+)", country.servers["hsinchu"].ask("show protocols"), re.M)}


def label(country, prefix):
    """What the page says of the route, and whether the route server refuses it."""
    routes = country.ask(f"/api/search?prefix={prefix}&matching=exact")["routes"]
    return {route["rpki"]["state"] for route in routes}, {route["state"] == "filtered" for route in routes}


def test_a_new_roa_changes_the_label_within_two_seconds_without_a_session_reset(country, show):
    prefix, entries, since = "163.28.0.0/16", country.entries, sessions(country)
    assert len(since) == 8
    wait("the label", lambda: label(country, prefix) == ({"not-found"}, {False}))
    try:
        for what, roa, wanted in (
            ("a ROA for TANet", (prefix, 16, 1659), "valid"),
            ("a ROA for somebody else only", (prefix, 16, 64999), "invalid"),
            ("no ROA", None, "not-found"),
        ):
            begun = time.monotonic()
            country.roas(entries + [roa] if roa else entries)
            wait(f"{what}: the label", lambda: label(country, prefix)[0] == {wanted}, 10, every=0.02)
            took = time.monotonic() - begun
            wait(f"{what}: the route server", lambda: label(country, prefix)[1] == {wanted == "invalid"}, 10, every=0.02)
            show(f"{what}: {prefix} is labelled {wanted} after {took:.2f} s; the page shows what the route server makes of it after {time.monotonic() - begun:.2f} s")
            assert took < LABEL_S
        assert sessions(country) == since, "no session was reset"
    finally:
        country.roas(entries)


def plan(country, name, steps, silence=SWITCH_MS, max_s=120):
    source, target = country.core("twaren"), "163.28.0.1"
    ping = ["ip", "netns", "exec", source.netns, "ping", "-n", "-i", "0.01", "-I", "140.110.0.1", target]
    text = f'title = "Hsinchu is cut"\ntitle_zh = "新竹主站斷線"\nmax_s = {max_s}\nback_s = 60\n[[probes]]\nname = "TWAREN to TANet"\n'
    text += f"command = {json.dumps(ping)}\nsilence_max_ms = {silence}\n"
    for step in steps:
        text += "[[steps]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in step.items())
    file = country.dir / f"{name}.toml"
    file.write_text(text)
    return file


def disabled(country):
    return set(re.findall(r"^(\S+) +BGP +\S+ +down", country.servers["hsinchu"].ask("show protocols"), re.M))


def cut_commands(country):
    lan = f"{country.prefix}-lan-hsinchu"
    return {"do": "command", "name": "the switch at Hsinchu stops", "run": ["ip", "-n", lan, "link", "set", "lan", "down"], "undo": ["ip", "-n", lan, "link", "set", "lan", "up"]}


def test_a_drill_cuts_a_site_measures_restores_and_reports(country, show):
    steps = [{"do": "wait", "seconds": 1}, cut_commands(country), {"do": "wait", "seconds": 3}, {"do": "restore"}, {"do": "wait", "seconds": 1}]
    file, record = plan(country, "cut", steps), country.dir / "drills"
    said = civicnet("drill", "run", file, "--places", country.places_file, "--record", record, "--dry-run").stdout
    assert "nothing was touched" in said and not record.exists()
    refused = civicnet("drill", "run", file, "--places", country.places_file, "--record", record, check=False)
    assert refused.returncode == 1 and "add --yes" in refused.stderr
    done = civicnet("drill", "run", file, "--places", country.places_file, "--record", record, "--yes", check=False, timeout=150)
    assert done.returncode == 0, done
    found = json.loads(next(record.glob("*.json")).read_text())
    probe = found["probes"][0]
    show(f"drill: {probe['signs']} signs, longest silence {probe['silence_ms']} ms, every session up again {found['back_ms'] / 1000:.1f} s after the restoration")
    assert probe["kept"] and found["end"] == {"kind": "done"} and found["not_back"] == [] and found["not_undone"] == []
    hsinchu = next(site for site in found["sites"] if site["site"] == "hsinchu")
    assert hsinchu["up_before"] == hsinchu["up_after"] == 8 and hsinchu["up_least"] < 8
    zh, en = next(record.glob("*.zh-TW.md")).read_text(), next(record.glob("*.en.md")).read_text()
    assert "新竹主站斷線" in zh and "符合目標" in zh and "As promised" in en
    restored(country)


def drill(country, name, **options):
    """A drill that takes every session of Hsinchu's route server down and then waits for a long time."""
    file = plan(country, name, [{"do": "disable", "site": "hsinchu"}, {"do": "wait", "seconds": 60}], **options)
    record = country.dir / name
    process = subprocess.Popen([os.environ["CIVICNET_BIN"], "exchange", "drill", "run", file, "--places", country.places_file, "--record", record, "--yes"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait("every session is down", lambda: len(disabled(country)) == 8, 20)
    return process, record


def test_a_drill_that_is_killed_is_restored_by_its_guard(country, show):
    process, record = drill(country, "killed")
    begun = time.monotonic()
    process.kill()
    process.communicate(timeout=30)
    wait("the guard's work", lambda: not disabled(country), 20)
    show(f"killed drill: every session enabled again {time.monotonic() - begun:.2f} s after kill -9")
    wait("the journal's end", lambda: '"end"' in (record / "drill.journal").read_text())
    restored(country)


def test_a_drill_can_be_aborted(country):
    process, record = drill(country, "aborted")
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate(timeout=120)
    assert process.returncode == 3 and "aborted and restored" in complained, (said, complained)
    assert not disabled(country)
    found = json.loads(next(record.glob("*.json")).read_text())
    assert found["end"] == {"kind": "aborted"} and found["not_back"] == []
    restored(country)


def test_a_drill_does_not_last_longer_than_its_plan(country):
    with pytest.raises(AssertionError, match="must be more than the 60 s"):
        civicnet("drill", "run", plan(country, "long", [{"do": "wait", "seconds": 60}], max_s=10), "--places", country.places_file, "--yes")
    assert not disabled(country)


def test_a_member_is_checked_end_to_end(country, show):
    usual = country.dir / "usual.json"
    check = lambda *more: civicnet("health", "--members", country.document_file, "--places", country.places_file, "--asn", "1659", "--usual", usual, "--json", *more, check=False)
    done = check("--learn")
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout)
    assert found["kind"] == "exchange-member-check" and found["verdict"] == "good"
    assert {finding["check"] for finding in found["findings"]} == {"session", "bfd", "routes", "limit", "ping"}
    country.cut_port(country.routers["tanet-b1"], "hsinchu")
    try:
        wait("the loss", lambda: "as1659_b1_v4" not in country.servers["hsinchu"].established())
        done = check()
    finally:
        country.cut_port(country.routers["tanet-b1"], "hsinchu", cut=False)
    found = json.loads(done.stdout)
    down = {(finding["check"], finding["site"], finding["object"]) for finding in found["findings"] if finding["verdict"] == "down"}
    show(f"health of TANet with a cut port: {sorted(down)}")
    assert done.returncode == 3 and found["verdict"] == "down"
    assert down == {("session", "hsinchu", "as1659_b1_v4"), ("session", "taichung", "as1659_hsinchu_b1_v4"), ("session", "tainan", "as1659_hsinchu_b1_v4"), ("ping", "hsinchu", "203.72.1.21")}
    restored(country)
