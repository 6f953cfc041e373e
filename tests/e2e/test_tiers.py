"""Three houses, each a control plane of its own: a provider reports to its ministry, the ministry to the nation; what is known comes down
to another provider, without names; feedback travels back. Then one of them dies in the middle of a push."""

import datetime
import json
import re
import signal
import subprocess

import pytest
import requests
import stix2

from alone import Process, free_port
from api import TOKEN, csrf_of
from country import BIN, wait_for
from test_taxii import TAXII, indicators

PASSWORD = "correct horse battery staple 9"


class Tier:
    """One house: its control plane, an operator, a collection `shared`."""

    def __init__(self, directory, name):
        self.dir, self.name = directory, name
        self.dir.mkdir()
        self.console, self.admin, self.fabric, self.taxii = (free_port() for _ in range(4))
        self.peers, self.extra, self.process = [], "", None
        self.write()
        subprocess.run([BIN, "user", "operator", f"op@{name}.example", "--name", f"Operator of {name}", "--config", self.config],
                       input=PASSWORD.encode(), check=True, timeout=60)
        made = subprocess.run([BIN, "stix", "create-collection", "共享 Shared", "--alias", "shared", "--config", self.config],
                              check=True, timeout=60, capture_output=True, text=True)
        self.collection = re.search(r"[0-9a-f-]{36}", made.stdout)[0]

    @property
    def config(self):
        return str(self.dir / "control.toml")

    def write(self):
        peers = "\n".join(self.peers)
        (self.dir / "control.toml").write_text(f"""
[node]
name = "control"
[admin]
listen = "127.0.0.1:{self.admin}"
[control]
listen = ["127.0.0.1:{self.console}"]
[store]
url = "sqlite:{self.dir}/control.db"
key_file = "{self.dir}/keys.toml"
audit_anchor_file = "{self.dir}/anchors.jsonl"
[store.blobs]
dir = "{self.dir}/blobs"
[fabric]
listen = "127.0.0.1:{self.fabric}"
[lake]
dir = "{self.dir}/lake"
[web]
public_url = "http://127.0.0.1:{self.console}"
login_burst = 100
api_burst = 100000
[casework]
console_url = "http://127.0.0.1:{self.console}"
[isac]
name = "{self.name}"
[isac.taxii]
listen = ["127.0.0.1:{self.taxii}"]
public_url = "http://127.0.0.1:{self.taxii}"
burst = 100000
{self.extra}
{peers}
""")

    def start(self):
        self.process = Process(["run", "control", "--config", self.config], self.dir / "log", self.taxii).start()
        wait_for(lambda: requests.get(f"http://127.0.0.1:{self.console}/login", timeout=5).ok, 30, f"the console of {self.name}")
        return self

    def kill(self):
        self.process.process.send_signal(signal.SIGKILL)
        self.process.process.wait(10)

    def restart(self):
        self.process.stop()
        self.start()

    def session(self):
        session = requests.Session()
        base = f"http://127.0.0.1:{self.console}"
        page = session.get(base + "/login", timeout=10).text
        answer = session.post(base + "/login", timeout=10, allow_redirects=False,
                              data={"csrf": csrf_of(page), "next": "", "email": f"op@{self.name}.example", "password": PASSWORD})
        assert answer.status_code == 303, answer.text[:500]
        return session

    def token(self, org=None):
        """A token of the operator; with `org`, one that speaks for it alone."""
        session, base = self.session(), f"http://127.0.0.1:{self.console}"
        page = session.get(base + "/account/tokens", timeout=10).text
        if org:
            session.post(base + "/settings/organisation", timeout=10, data={"csrf": csrf_of(page), "org": org})
            page = session.get(base + "/account/tokens", timeout=10).text
        scopes = re.findall(r'name="scopes" value="([^"]+)"', page)
        answer = session.post(base + "/account/tokens", timeout=10,
                              data={"csrf": csrf_of(page), "name": "t", "days": "1", "scopes": scopes})
        assert answer.status_code == 200, answer.text[:2000]
        return TOKEN.search(answer.text)[0]

    def api(self, method, path, expect, **how):
        answer = requests.request(method, f"http://127.0.0.1:{self.console}/api/v1{path}", timeout=15,
                                  headers={"authorization": f"Bearer {self.house_token}"}, **how)
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text[:1000]}"
        return answer.json() if answer.content else None

    def open_doors(self):
        """A token for the house's own calls."""
        self.house_token = self.token()
        return self

    def organisation(self, name):
        """An organisation of which the operator is an editor, with its token; it may read and write `shared`."""
        org = self.api("POST", "/orgs", 201, json={"name_zh": name, "name_en": f"{name} Ltd"})["id"]
        me = self.api("GET", "/me", 200)
        user = me.get("id") or me["user"]["id"]
        requests.put(f"http://127.0.0.1:{self.console}/api/v1/orgs/{org}/members/{user}", timeout=10, json={"role": "owner-editor"},
                     headers={"authorization": f"Bearer {self.house_token}"}).raise_for_status()
        subprocess.run([BIN, "stix", "right", "shared", org, "--read", "--write", "--tlp-max", "amber", "--config", self.config],
                       check=True, timeout=60)
        return org, self.token(org)

    def peer(self, other, token, direction, tier, types=()):
        file = self.dir / f"token-{other.name}"
        file.write_text(token)
        listed = ", ".join(f'"{one}"' for one in types)
        self.peers.append(f"""[[isac.taxii.peers]]
name = "{other.name}-{direction}"
url = "http://127.0.0.1:{other.taxii}/civic/collections/{other.collection}/"
token_file = "{file}"
collection = "shared"
direction = "{direction}"
tier = "{tier}"
every_s = 1
tlp_max = "amber"
types = [{listed}]
""")
        self.write()

    def objects_url(self):
        return f"http://127.0.0.1:{self.taxii}/civic/collections/{self.collection}/objects/"

    def put(self, objects):
        body = json.dumps({"objects": [json.loads(one.serialize()) if hasattr(one, "serialize") else one for one in objects]})
        answer = requests.post(self.objects_url(), data=body.encode(), timeout=60, headers={
            "accept": TAXII, "content-type": TAXII, "authorization": f"Bearer {self.house_token}"})
        assert answer.status_code == 202 and answer.json()["failure_count"] == 0, answer.text[:2000]

    def everything(self, token=None):
        found, params = [], {"limit": 1000, "match[version]": "all"}
        while True:
            answer = requests.get(self.objects_url(), params=params, timeout=30, headers={
                "accept": TAXII, "authorization": f"Bearer {token or self.house_token}"})
            answer.raise_for_status()
            page = answer.json()
            found += page.get("objects", [])
            if not page.get("more"):
                return found
            params["next"] = page["next"]

    def has(self, kind, count=1):
        found = [one for one in self.everything() if one["type"] == kind]
        return found if len(found) >= count else None


@pytest.fixture
def tiers(tmp_path):
    houses = [Tier(tmp_path / name, name) for name in ("nation", "ministry", "water", "power")]
    try:
        for house in houses:
            house.start().open_doors()
        yield houses
    finally:
        for house in houses:
            if house.process:
                house.process.stop()


def joined(tiers):
    nation, ministry, water, power = tiers
    _, for_ministry = nation.organisation("數位部")
    _, for_water = ministry.organisation("臺灣自來水公司")
    _, for_power = ministry.organisation("臺灣電力公司")
    water.peer(ministry, for_water, "push", "up")
    power.peer(ministry, for_power, "poll", "up")
    power.peer(ministry, for_power, "push", "up", ["opinion", "sighting", "note", "identity"])
    water.peer(ministry, for_water, "poll", "up")
    ministry.peer(nation, for_ministry, "push", "up")
    for house in (ministry, water, power):
        house.restart()
    return for_water, for_power


def moves_in(tiers, rounds):
    """Whether anything moves between the houses while every peer is visited `rounds` more times."""
    def peers():
        return {(house.name, one["name"]): one for house in tiers for one in house.api("GET", "/sharing/peers", 200)["items"]}

    def held():
        return [len(house.everything()) for house in tiers]
    at_first = held()
    for _ in range(rounds):
        before = peers()
        wait_for(lambda: all(one["visited_at"] > before[key]["visited_at"] for key, one in peers().items()), 30, "a round of visits")
    return held() != at_first or any(one["lag_s"] is not None for one in peers().values())


def test_what_one_provider_knows_protects_another_and_feedback_travels_back(tiers):
    nation, ministry, water, power = tiers
    joined(tiers)
    author = stix2.Identity(name="臺灣自來水公司", identity_class="organization", contact_information="王小明 02-1234-5678")
    bad = stix2.Indicator(
        name="臺灣自來水公司 發現的中繼站", created_by_ref=author.id, pattern="[ipv4-addr:value = '198.51.100.77']", pattern_type="stix",
        valid_from=datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc), confidence=80, object_marking_refs=[stix2.TLP_GREEN])
    red = stix2.Indicator(
        name="內部", pattern="[ipv4-addr:value = '198.51.100.78']", pattern_type="stix",
        valid_from=datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc), object_marking_refs=[stix2.TLP_RED])
    water.put([author, bad, red])

    # Up by policy, down to the other provider.
    for house in (ministry, nation, power):
        wait_for(lambda: house.has("indicator"), 60, f"the indicator at {house.name}")
        found = house.everything()
        assert [one["id"] for one in found if one["type"] == "indicator"] == [bad.id], house.name
        text = json.dumps(found, ensure_ascii=False)
        assert "自來水" not in text and "王小明" not in text and author.id not in text, house.name
    # Each audience knows the source by another name, the same each time.
    names = {house.name: next(one for one in house.everything() if one["type"] == "indicator")["created_by_ref"] for house in (ministry, nation, power)}
    assert len(set(names.values())) == 3, names

    # A second source, a sighting and a false positive: back to where the indicator came from.
    power.api("POST", "/sharing/verdicts", 204, json={
        "indicator": bad.id, "collection": "shared", "opinion": "strongly-disagree", "why": "是我們的弱點掃描主機"})
    wait_for(lambda: water.has("opinion"), 60, "the opinion at its source")
    opinion = water.has("opinion")[0]
    assert opinion["object_refs"] == [bad.id] and opinion["opinion"] == "strongly-disagree"
    assert ministry.has("opinion") and wait_for(lambda: nation.has("opinion"), 30, "the opinion above")

    def doubted():
        rows = ministry.api("GET", "/sharing/beliefs", 200)["items"]
        return [row for row in rows if row["disputes"] == 1 and row["confidence"] <= 40]
    assert wait_for(doubted, 30, "a lower confidence at the ministry")[0]["pattern"] == bad.pattern

    # The statistics of each peer, and the preview: red stays.
    peers = {one["name"]: one for one in ministry.api("GET", "/sharing/peers", 200)["items"]}
    assert peers["nation-push"]["moved"] >= 2 and peers["nation-push"]["failures"] == 0
    shown = water.api("GET", "/sharing/preview?to=ministry-push", 200)
    assert shown["passes"] >= 2 and all(bad["id"] != red.id for bad in shown["examples"] if not bad["why"])
    # It comes to rest: in two whole rounds of visits nothing more moves, anywhere.
    wait_for(lambda: not moves_in(tiers, rounds=2), 60, "rest")


def test_a_house_that_dies_in_the_middle_loses_nothing_and_says_nothing_twice(tiers):
    nation, ministry, water, power = tiers
    joined(tiers)
    many = indicators(4000, 0)
    ids = {one.id for one in many}
    for start in range(0, len(many), 500):
        water.put(many[start:start + 500])
    wait_for(lambda: len(ministry.everything()) >= 500, 60, "the first objects at the ministry")
    # The receiver dies, then the sender, then the middle again.
    for victim in (ministry, water, ministry):
        victim.kill()
        victim.start()

    def arrived(house):
        found = [one["id"] for one in house.everything() if one["id"] in ids]
        assert len(found) == len(set(found)), f"twice at {house.name}"
        return len(found) == len(ids)
    for house in (ministry, nation, power):
        wait_for(lambda: arrived(house), 120, f"all of it at {house.name}", every=0.5)
    assert arrived(water)
