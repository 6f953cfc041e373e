"""What the rendered filters mean, told by real BIRDs: each reason of refusal, each action."""

import re

import pytest

from lab import Lab, civicnet, wait, GOLDEN

RS = 64500


def announce(prefix, path, more=""):
    steps = "".join(f"bgp_path.prepend({asn}); " for asn in reversed(path))
    return f"route {prefix} blackhole {{ {steps}{more} }};"


def large(*numbers):
    return f"bgp_large_community.add(({', '.join(map(str, numbers))})); "


REFUSED = {  # prefix: (path, more, reason)
    "192.168.7.0/24": ([7539], "", 3),
    "203.72.2.0/24": ([7539], "", 16),
    "140.110.1.0/25": ([7539], "", 1),
    "140.0.0.0/7": ([7539], "", 2),
    "140.110.20.0/24": ([1659, 7539], "", 7),
    "140.110.21.0/24": ([7539] * 70, "", 5),
    "140.110.22.0/24": ([7539, 64512, 7540], "", 4),
    "140.110.23.0/24": ([7539, 174, 7540], "", 14),
    "140.110.24.0/24": ([7539], "".join(f"bgp_community.add((3000,{i})); " for i in range(101)), 15),
    "140.110.25.0/24": ([7539], "bgp_next_hop = 203.72.1.99; ", 8),
    "140.110.26.0/24": ([7539, 9999], "", 10),
    "140.110.27.0/24": ([7539, 7540], "", 13),
    "211.79.60.0/24": ([7539], "", 9),
    "140.109.5.5/32": ([7539], "bgp_community.add((65535,666)); ", 17),
}
ACCEPTED = {  # prefix: (path, more)
    "140.110.0.0/16": ([7539], large(RS, 1101, 9)),
    "140.110.2.0/24": ([7539], ""),  # valid by its ROA, and in no registry
    "211.79.48.0/21": ([7539], ""),  # registered, no ROA
    "140.110.10.0/24": ([7539], large(RS, 0, 1659)),
    "140.110.11.0/24": ([7539], "bgp_community.add((0,1659)); "),
    "140.110.12.0/24": ([7539], large(RS, 0, 0) + large(RS, 1, 1659)),
    "140.110.13.0/24": ([7539], f"bgp_community.add((0,{RS})); "),
    "140.110.14.0/24": ([7539], large(RS, 101, 1659)),
    "140.110.15.0/24": ([7539], large(RS, 102, 0)),
    "140.110.16.0/24": ([7539], large(RS, 103, 4782)),
    "140.110.17.0/24": ([7539], "bgp_community.add((65535,0)); "),
    "140.110.5.5/32": ([7539], "bgp_community.add((65535,666)); "),
    "140.110.18.0/24": ([7539], "bgp_next_hop = 203.72.1.11; bgp_community.add((65535,65281)); "),
}


@pytest.fixture(scope="module")
def lab():
    lab = Lab()
    try:
        lab.rs = lab.route_server("hsinchu")
        routes = [announce(prefix, path, more) for prefix, (path, more, _) in REFUSED.items()]
        routes += [announce(prefix, path, more) for prefix, (path, more) in ACCEPTED.items()]
        lab.twaren = lab.member("twaren", 7539, ["hsinchu"], "\n".join(routes))
        lab.tanet = lab.member("tanet", 1659, ["hsinchu"], announce("163.28.0.0/16", [1659]), password="lab-secret")
        lab.gsn = lab.member("gsn", 4782, ["hsinchu"], announce("117.56.128.0/17", [4782]))
        wait("sessions", lambda: len(lab.rs.established()) == 3)
        wait("the routes", lambda: all(lab.tanet.route(p) for p in ("140.110.0.0/16", "140.110.5.5/32", "140.110.18.0/24")))
        yield lab
    finally:
        lab.close()


def reasons(text):
    return [int(n) for n in re.findall(rf"\({RS}, ?1101, ?(\d+)\)", text)]


@pytest.mark.parametrize("prefix", REFUSED)
def test_a_refused_route_keeps_its_reason(lab, prefix):
    text, _ = wait("the route", lambda: lab.rs.route(prefix, "filtered"), 5)
    assert reasons(text) == [REFUSED[prefix][2]], text
    assert not lab.tanet.route(prefix)


def test_an_invalid_origin_is_refused_though_registered(lab):
    text, _ = wait("the route", lambda: lab.rs.route("117.56.128.0/17", "filtered"), 5)
    assert reasons(text) == [13], text


@pytest.mark.parametrize("prefix", ACCEPTED)
def test_an_accepted_route_has_no_reason(lab, prefix):
    text = lab.rs.route(prefix)
    assert text and reasons(text) == [], text


def test_labels_say_what_validation_found(lab):
    assert f"({RS}, 1000, 1)" in lab.rs.route("140.110.2.0/24")
    assert f"({RS}, 1000, 2)" in lab.rs.route("211.79.48.0/21")


def test_members_choose_who_hears_them(lab):
    heard = lambda prefix: (bool(lab.tanet.route(prefix)), bool(lab.gsn.route(prefix)))
    assert heard("140.110.0.0/16") == (True, True)
    assert heard("140.110.10.0/24") == (False, True)
    assert heard("140.110.11.0/24") == (False, True)
    assert heard("140.110.12.0/24") == (True, False)
    assert heard("140.110.13.0/24") == (False, False)


def path(router, prefix):
    return re.search(r"BGP.as_path: (.*)", router.route(prefix)).group(1).split()


def test_members_choose_prepending(lab):
    assert path(lab.tanet, "140.110.14.0/24") == ["7539"] * 2
    assert path(lab.gsn, "140.110.14.0/24") == ["7539"]
    assert path(lab.gsn, "140.110.15.0/24") == ["7539"] * 3
    assert path(lab.gsn, "140.110.16.0/24") == ["7539"] * 4
    assert path(lab.tanet, "140.110.0.0/16") == ["7539"]


def test_requests_and_labels_are_not_passed_on(lab):
    for prefix in ("140.110.0.0/16", "140.110.14.0/24", "140.110.12.0/24"):
        assert "large_community" not in lab.tanet.route(prefix)


def test_a_blackhole_gets_its_next_hop_and_goes_no_further(lab):
    text = lab.tanet.route("140.110.5.5/32")
    assert "BGP.next_hop: 203.72.1.66" in text and "(65535,666)" in text and "(65535,65281)" in text, text


def test_graceful_shutdown_makes_the_route_the_last_choice(lab):
    assert "BGP.local_pref: 0" in lab.rs.route("140.110.17.0/24")
    assert "(65535,0)" in lab.tanet.route("140.110.17.0/24")


def test_the_route_server_is_transparent(lab):
    text = lab.tanet.route("140.110.18.0/24")
    assert "BGP.next_hop: 203.72.1.11" in text and "(65535,65281)" in text, text
    # Its number is in no path; the session's role leaves its mark (RFC 9234).
    assert path(lab.tanet, "140.110.18.0/24") == ["7539"] and "BGP.otc: 64500" in text


def test_a_new_roa_changes_the_label_without_a_session_reset(lab):
    since = lab.rs.ask("show protocols as7539_b1_v4")
    text = lab.document_file.read_text()
    lab.document_file.write_text(text.replace("  { prefix = \"117.56.128.0/17\", asn = 9264 },\n",
                                              "  { prefix = \"117.56.128.0/17\", asn = 4782 },\n"))
    arguments = ["--members", lab.document_file, "--site", "hsinchu", "--irr-file", GOLDEN / "lab.rpsl",
                 "--socket", lab.rs.socket, "--config", lab.rs.conf]
    said = civicnet("apply", *arguments, "--dry-run").stdout
    assert "not applied" in said and "+   route 117.56.128.0/17 max 17 as 4782;" in said, said
    assert not lab.rs.route("117.56.128.0/17")
    assert "applied" in civicnet("apply", *arguments).stdout
    text, _ = wait("the label", lambda: lab.rs.route("117.56.128.0/17"), 5)
    assert f"({RS}, 1000, 1)" in text and reasons(text) == []
    assert lab.rs.ask("show protocols as7539_b1_v4") == since
    assert "unchanged" in civicnet("apply", *arguments).stdout


def test_a_configuration_that_loses_sessions_is_taken_back(lab):
    before, up = lab.rs.conf.read_text(), lab.rs.established()
    text = lab.document_file.read_text()
    try:
        lab.document_file.write_text(text.replace("lab-secret", "another-secret"))
        done = civicnet("apply", "--members", lab.document_file, "--site", "hsinchu", "--irr-file", GOLDEN / "lab.rpsl",
                        "--socket", lab.rs.socket, "--config", lab.rs.conf, "--watch", "5", check=False)
    finally:
        lab.document_file.write_text(text)
    assert done.returncode == 3 and "rolled back: as1659_b1_v4" in done.stderr, done
    assert "another-secret" not in done.stdout and lab.rs.conf.read_text() == before
    wait("sessions", lambda: lab.rs.established() == up, 30)
