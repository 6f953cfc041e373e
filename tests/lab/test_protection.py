"""What members ask to be discarded reaches the others: blackholes and flow rules, through real BIRDs."""

import re

import pytest

from lab import GOLDEN, Lab, civicnet, wait

RULES = """
[[protection]]
id = "hole"
asn = 7539
destination = "140.110.5.9/32"

[[protection]]
id = "dns"
asn = 7539
destination = "140.110.5.0/24"
flow = { source = "61.216.0.0/16", protocols = [17], source_ports = ["53"], rate_bytes = 0 }

[[protection]]
id = "intelligence"
flow = { source = "198.51.100.66/32", rate_bytes = 0 }

[[protection]]
id = "not-mine"
asn = 7539
destination = "140.109.5.9/32"
"""


def taker(lab, name, asn, password=None):
    """A member's router that takes flow rules."""
    router = lab.router(name)
    own = lab.address(asn, "hsinchu")
    lab.plug(router, "hsinchu", own + "/24")
    secret = f'password "{password}";' if password else ""
    router.start(f"""router id {own};
protocol device {{ scan time 1; }}
flow4 table flows;
protocol bgp rs_hsinchu {{
  local {own} as {asn}; neighbor 203.72.1.1 as 64500; connect retry time 1; error wait time 1, 2; connect delay time 1; {secret}
  ipv4 {{ import all; export none; }};
  flow4 {{ table flows; import all; export none; }};
}}""")
    return router


def apply(lab, server):
    return civicnet("apply", "--members", lab.document_file, "--site", "hsinchu", "--irr-file", GOLDEN / "lab.rpsl",
                    "--config", server.conf, "--socket", server.socket)


@pytest.fixture(scope="module")
def lab():
    lab = Lab()
    try:
        text = lab.document_file.read_text()
        text = text.replace('name = "TANet"', 'name = "TANet"\nflowspec = true\nintelligence = true')
        text = text.replace('name = "GSN"', 'name = "GSN"\nflowspec = true')
        lab.plain = text.replace("bfd = { interval_ms = 50, multiplier = 3 }\n", "")
        lab.document_file.write_text(lab.plain)
        lab.rs = lab.route_server("hsinchu")
        lab.tanet = taker(lab, "tanet", 1659, password="lab-secret")
        lab.gsn = taker(lab, "gsn", 4782)
        lab.asnet = lab.member("asnet", 9264, ["hsinchu"])
        wait("sessions", lambda: len(lab.rs.established()) == 3)
        yield lab
    finally:
        lab.close()


def flows(router):
    return set(re.findall(r"^flow4 \{ (.*?) \}", router.ask("show route table flows"), re.M))


DNS = "dst 140.110.5.0/24; src 61.216.0.0/16; proto 17; sport 53;"
BAD = "src 198.51.100.66/32;"


def test_nothing_is_announced_for_a_member_without_a_session_here(lab):
    assert flows(lab.tanet) == set()
    assert not lab.tanet.route("140.110.5.9/32")


def test_rules_reach_those_who_take_them_and_go_again(lab):
    lab.document_file.write_text(lab.plain + RULES)
    apply(lab, lab.rs)
    hole, took = wait("the blackhole", lambda: lab.tanet.route("140.110.5.9/32"), 5)
    assert took < 2
    # As the member itself would have announced it, with a next hop that discards (RFC 7999).
    assert "BGP.as_path: 7539" in hole and "BGP.next_hop: 203.72.1.66" in hole
    assert "(65535,666)" in hole and "(65535,65281)" in hole
    # A member that takes no flow rules has its session, and the blackhole.
    wait("the blackhole elsewhere", lambda: lab.asnet.route("140.110.5.9/32"), 5)
    wait("flow rules", lambda: flows(lab.tanet) == {DNS, BAD}, 5)
    rule = lab.tanet.ask("show route table flows all")
    assert "(generic, 0x80060000, 0x0)" in rule
    assert "64500:1200" not in rule.replace(", ", ":"), "the exchange's own mark stays inside"
    # Intelligence only for those who want it.
    wait("flow rules", lambda: flows(lab.gsn) == {DNS}, 5)
    # What is not the member's is not announced.
    assert not lab.tanet.route("140.109.5.9/32")
    assert "not-mine: not announced" in lab.rs.conf.read_text()
    # Undone: gone within two seconds, sessions up all the while.
    before = lab.rs.established()
    lab.document_file.write_text(lab.plain)
    apply(lab, lab.rs)
    _, took = wait("undone", lambda: not lab.tanet.route("140.110.5.9/32") and flows(lab.tanet) == set(), 5)
    assert took < 2
    assert lab.rs.established() == before and len(before) == 3
