"""What is decided about the exchange is at the sites' route servers within seconds."""

import re
import time

from api import Api, make_token
from country import wait_for


def test_what_is_decided_is_at_the_sites_at_once(country, tmp_path):
    """A blackhole comes and goes, a member is switched by hand: BIRD's own file follows within seconds, without any other
    change. A health check finds it, and its findings stand in a case."""
    operator, owner = Api(country, "operator"), Api(country, "twaren-owner")
    configurations = {site: country.dir / f"nodes/exchange-{site}/bird.conf" for site in ("hsinchu", "taichung")}

    def follows(condition, what, seconds=10):
        began = time.monotonic()
        wait_for(condition, seconds, what)
        took = time.monotonic() - began
        print(f"{what}: {took:.1f} s")
        return took

    text = {site: lambda file=file: file.read_text() for site, file in configurations.items()}
    wait_for(lambda: all("AS7539" in read() for read in text.values()), 60, "the first configurations")
    operator.call("PUT", "/exchange-registered-space/7539", 200, json={"prefixes": ["140.110.0.0/16"]})
    asked = {"asn": 7539, "destination": "140.110.200.9/32", "hours": 1, "reason": "an attack"}
    effect = owner.call("POST", "/exchange-protection-dry-runs", 200, json=asked).json()
    assert effect["bird"] == "route 140.110.200.9/32 blackhole", effect
    rule = owner.call("POST", "/exchange-protection", 201, json=asked).json()["id"]
    follows(lambda: all(rule in read() for read in text.values()), "the blackhole is there")
    owner.call("DELETE", f"/exchange-protection/{rule}", 200)
    follows(lambda: not any(rule in read() for read in text.values()), "it is gone again")

    member = next(one for one in operator.get("/exchange/members")["items"] if one["fields"]["asn"] == 7539)
    path = f"/exchange/members/{member['id']}"
    before = text["hsinchu"]()
    operator.call("PATCH", path, 422, json={"preferred_site": "tainan"})
    operator.call("PATCH", path, 200, json={"preferred_site": "taichung"})
    follows(lambda: text["hsinchu"]().count("prepend_once();") > before.count("prepend_once();"), "Hsinchu stands back")
    operator.call("PATCH", path, 200, json={"preferred_site": None})
    follows(lambda: text["hsinchu"]() == before, "all are equals")

    exported = country.cli("exchange", "export", "--config", str(country.dir / "control.toml"))
    assert exported.returncode == 0, exported.stderr
    (tmp_path / "members.json").write_text(exported.stdout)
    socket = re.search(r'bird_socket = "(.*)"', (country.dir / "nodes/exchange-hsinchu/node.toml").read_text())[1]
    (tmp_path / "places.toml").write_text(
        f'[[places]]\nsite = "hsinchu"\nsocket = "{socket}"\nconfig = "{configurations["hsinchu"]}"\n')
    case = owner.call("POST", "/cases", 201, json={"form": "ix-contact", "org": member["fields"]["org"], "values": {
        "subject": "our sessions", "asn": 7539, "change": "set", "role": "technical", "contact_name": "林新人",
        "contact_email": "new@net.example"}}).json()
    owner.call("POST", f"/cases/{case['id']}/steps", 200, json={"version": case["version"], "action": "submit", "comment": ""})
    (tmp_path / "token").write_text(make_token(country, "officer-1"))
    health = ["exchange", "health", "--members", str(tmp_path / "members.json"), "--places", str(tmp_path / "places.toml"),
              "--asn", "7539", "--attach", case["id"], "--api", country.at("api")]
    done = country.cli(*health, "--token-file", str(tmp_path / "token"))
    assert done.returncode in (0, 3) and f"attached to case {case['id']}" in done.stderr, (done.stdout, done.stderr)
    told = owner.call("GET", f"/cases/{case['id']}", 200).text
    assert "AS7539 " in told and "civicnet exchange health" in told and "hsinchu" in told, told
    # A case of somebody else's is not there.
    (tmp_path / "token").write_text(make_token(country, "water-owner"))
    refused = country.cli(*health, "--token-file", str(tmp_path / "token"))
    assert refused.returncode not in (0, 3) and "not attached" in refused.stderr, refused.stderr
