"""TAXII 2.1 and STIX 2.1 as other people's programs speak them: taxii2-client, stix2, stix2-validator, plain HTTP."""

import base64
import concurrent.futures
import datetime
import json
import lzma
import os
import random
import re
import signal
import time
import uuid
from pathlib import Path

import pytest
import requests
import stix2
import stix2validator
from taxii2client.common import TokenAuth
from taxii2client.v21 import ApiRoot, Collection, Server, as_pages

from country import wait_for

TAXII = "application/taxii+json;version=2.1"
SHARED = Path(os.environ.get("CIVICNET_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
ATTACK = SHARED / "data/attack-enterprise-18.1.stix21.json.xz"


def indicators(count, seed):
    """Indicators as the stix2 library makes them."""
    made = []
    for number in range(count):
        address = f"198.51.{(seed + number) // 250 % 250}.{(seed + number) % 250}"
        made.append(stix2.Indicator(
            name=f"中繼站 {seed + number}", pattern=f"[ipv4-addr:value = '{address}']", pattern_type="stix",
            valid_from=datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc), confidence=80,
            indicator_types=["malicious-activity"], object_marking_refs=[stix2.TLP_GREEN]))
    return made


def envelope(objects):
    return {"objects": [json.loads(one.serialize()) if hasattr(one, "serialize") else one for one in objects]}


@pytest.fixture
def collection(country):
    root, name, token = (country.at(key) for key in ("taxii", "taxii_collection", "taxii_token"))
    return Collection(f"{root}collections/{name}/", auth=TokenAuth(token))


def everything(collection, per_request=100, **filters):
    return [one for page in as_pages(collection.get_objects, per_request=per_request, **filters) for one in page.get("objects", [])]


def test_a_client_finds_its_way_and_everything_comes_back(country, collection):
    auth = TokenAuth(country.at("taxii_token"))
    server = Server(country.at("taxii_discovery"), auth=auth)
    assert server.default.url == country.at("taxii")
    root = ApiRoot(country.at("taxii"), auth=auth)
    assert TAXII in root.versions and root.max_content_length > 1 << 20
    assert country.at("taxii_collection") in [one.id for one in root.collections]
    assert collection.can_read and collection.can_write

    mine = indicators(250, 0) + [
        stix2.Identity(name="某縣市政府", identity_class="organization"),
        stix2.IPv4Address(value="203.0.113.7"),
        stix2.Malware(name="x", is_family=False),
    ]
    status = collection.add_objects(envelope(mine))
    assert (status.status, status.success_count, status.failure_count) == ("complete", len(mine), 0)
    assert root.get_status(status.id).success_count == len(mine)

    ids = {one.id for one in mine}
    back = {one["id"]: one for one in everything(collection) if one["id"] in ids}
    assert set(back) == ids
    for one in mine:
        # Equal as objects, and readable by the library that others use.
        assert back[one.id] == json.loads(one.serialize())
        assert stix2.parse(back[one.id]).id == one.id
    for one in list(back.values())[:40] + list(back.values())[-3:]:
        result = stix2validator.validate_instance(one, stix2validator.ValidationOptions(version="2.1"))
        assert result.is_valid, (one, result.errors)

    added = {one["id"]: one for one in collection.get_manifest(**{"limit": 1000})["objects"]}
    one = mine[7]
    assert added[one.id]["media_type"] == "application/stix+json;version=2.1"
    assert collection.get_object(one.id)["objects"][0]["name"] == one.name
    newer = one.new_version(name="改名")
    collection.add_objects(envelope([newer]))
    assert len(collection.object_versions(one.id)["versions"]) == 2
    assert collection.get_object(one.id)["objects"][0]["name"] == "改名"
    assert len(collection.get_object(one.id, version="all")["objects"]) == 2
    assert collection.get_objects(type="malware", id=mine[-1].id)["objects"][0]["id"] == mine[-1].id
    collection.delete_object(one.id)
    with pytest.raises(requests.HTTPError, match="404"):
        collection.get_object(one.id)


def test_readers_miss_nothing_while_a_writer_pushes(country, collection):
    """Ten readers page with the library while objects come; each sees every one of them exactly once."""
    batches = [indicators(200, 10_000 + 200 * number) for number in range(15)]
    ids = {one.id for batch in batches for one in batch}
    start = collection.get_objects(limit=1)
    assert "objects" in start or not start.get("more")

    def read(reader):
        mine = Collection(collection.url, auth=TokenAuth(country.at("taxii_token")))
        seen, cursor, end = [], None, time.monotonic() + 90
        while time.monotonic() < end:
            filters = {"limit": 37 + reader, **({"next": cursor} if cursor else {})}
            page = mine.get_objects(**filters)
            seen += [one["id"] for one in page.get("objects", []) if one["id"] in ids]
            if page.get("more"):
                cursor = page["next"]
            elif len(seen) >= len(ids):
                return seen
            else:
                # The end for now: from the same cursor again, without what was seen there.
                fresh = [one["id"] for one in page.get("objects", []) if one["id"] in ids]
                del seen[len(seen) - len(fresh):]
                time.sleep(0.05)
        raise AssertionError(f"reader {reader} saw {len(seen)} of {len(ids)}")

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        readers = [pool.submit(read, number) for number in range(10)]
        for batch in batches:
            assert collection.add_objects(envelope(batch)).failure_count == 0
        for reader in readers:
            seen = reader.result()
            assert len(seen) == len(set(seen)) == len(ids)


def test_what_was_accepted_survives_a_killed_server(fragile):
    """The control plane is killed in the middle of pushes; whatever had been answered 202 is there afterwards."""
    collection = Collection(
        f"{fragile.at('taxii')}collections/{fragile.at('taxii_collection')}/", auth=TokenAuth(fragile.at("taxii_token")))
    accepted = set()
    for number in range(200):
        batch = indicators(50, 50 * number)
        try:
            collection.add_objects(envelope(batch), wait_for_completion=False)
            accepted |= {one.id for one in batch}
        except (requests.RequestException, OSError):
            break
        if number == 5:
            fragile.kill_node("control", signal.SIGKILL)
    assert len(accepted) >= 250
    wait_for(lambda: collection.get_objects(limit=1).get("objects"), 60, "TAXII after the kill")
    back = [one["id"] for one in everything(collection, 500)]
    assert accepted <= set(back) and len(back) == len(set(back))


@pytest.mark.parametrize("scheme", ["Bearer", "Token", "Basic"])
def test_tokens_and_media_types(country, scheme):
    token = country.at("taxii_token")
    if scheme == "Basic":
        token = base64.b64encode(f"anybody:{token}".encode()).decode()
    root = country.at("taxii")
    ask = {"Accept": TAXII, "Authorization": f"{scheme} {token}"}
    answer = requests.get(root, headers=ask, timeout=10)
    assert answer.status_code == 200 and answer.headers["Content-Type"] == TAXII
    without = requests.get(root, headers={"Accept": TAXII}, timeout=10)
    assert without.status_code == 401 and "WWW-Authenticate" in without.headers
    assert requests.get(root, headers={**ask, "Accept": "application/json"}, timeout=10).status_code == 406
    objects = f"{root}collections/{country.at('taxii_collection')}/objects/"
    wrong = requests.post(objects, headers={**ask, "Content-Type": "application/json"}, data="{}", timeout=10)
    assert wrong.status_code == 415 and wrong.json()["http_status"] == "415"


def test_a_thousand_malformed_requests(country):
    """Never a 500, always a TAXII error, and the collection is as it was."""
    root, name, token = (country.at(key) for key in ("taxii", "taxii_collection", "taxii_token"))
    chance = random.Random(7)
    session = requests.Session()
    session.headers.update({"Accept": TAXII, "Authorization": f"Bearer {token}"})
    objects = f"{root}collections/{name}/objects/"
    before = session.get(f"{root}collections/{name}/manifest/?limit=1", timeout=10).json()
    good = json.dumps(envelope(indicators(1, 1))).encode()
    queries = ["limit=0", "limit=x", "added_after=x", "next=x", "match[version]=x", "match[id]=", "match[q]=1", "match[spec_version]=9"]
    statuses = set()
    for number in range(1000):
        if number % 2:
            broken = bytearray(good)
            for _ in range(chance.randint(1, 4)):
                broken[chance.randrange(14)] = chance.randrange(256)
            answer = session.post(objects, data=bytes(broken), headers={"Content-Type": TAXII}, timeout=10)
            if answer.status_code == 202:
                assert answer.json()["success_count"] in (0, 1)
                continue
        else:
            answer = session.get(objects + "?" + chance.choice(queries) + "&x=" + str(number), timeout=10)
        statuses.add(answer.status_code)
        assert 400 <= answer.status_code < 500, (answer.status_code, answer.text)
        assert answer.headers["Content-Type"] == TAXII
        body = answer.json()
        assert body["title"] and body["http_status"] == str(answer.status_code)
    assert {400, 422} <= statuses
    after = session.get(f"{root}collections/{name}/manifest/?limit=1", timeout=10).json()
    assert before.get("objects") == after.get("objects") or not before.get("objects")


@pytest.mark.skipif(not ATTACK.exists(), reason="not run: ../shared/data is not there")
def test_the_whole_of_attack(country, collection):
    bundle = json.loads(lzma.open(ATTACK).read())["objects"]
    for start in range(0, len(bundle), 1000):
        part = [one for one in bundle[start:start + 1000] if one["id"]]
        status = collection.add_objects({"objects": part})
        assert status.failure_count == 0, status.failures[:3]
    ids = {one["id"] for one in bundle}
    back = [one for one in everything(collection, 1000) if one["id"] in ids]
    assert len(back) == len({one["id"] for one in back}) == len(ids)
    wanted = {one["id"]: one for one in bundle}
    assert all(one == wanted[one["id"]] for one in back)


@pytest.mark.skipif(not ATTACK.exists(), reason="not run: ../shared/data is not there")
def test_the_whole_of_attack_in_one_request(country):
    """One envelope of 24,771 objects and 32 MiB: taken within the limits that the root tells, its status complete, its pages exact."""
    text = lzma.open(ATTACK).read().decode()
    # Under ids of their own, whatever was sent before; markings are known by theirs.
    seed = uuid.uuid4()
    text = re.sub(
        r"(?<!marking-definition)--([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})",
        lambda found: f"--{uuid.uuid5(seed, found[1])}", text)
    bundle = [one for one in json.loads(text)["objects"] if one["type"] != "marking-definition"]
    body = json.dumps({"objects": bundle}).encode()
    root, token = country.at("taxii"), country.at("taxii_token")
    session = requests.Session()
    session.headers.update({"Accept": TAXII, "Authorization": f"Bearer {token}"})
    told = session.get(root, timeout=10).json()
    assert len(body) > 30 << 20 and len(body) <= told["max_content_length"]
    url = f"{root}collections/{country.at('taxii_collection')}/"
    begun = time.monotonic()
    answer = session.post(f"{url}objects/", data=body, headers={"Content-Type": TAXII}, timeout=120)
    took = time.monotonic() - begun
    assert answer.status_code == 202, answer.text[:500]
    status = wait_for(
        lambda: (one := session.get(f"{root}status/{answer.json()['id']}/", timeout=30).json())["status"] == "complete" and one, 60, "the status is complete")
    counts = [status[f"{name}_count"] for name in ("total", "success", "failure", "pending")]
    assert counts == [len(bundle), len(bundle), 0, 0]
    wanted = {one["id"]: one for one in bundle}
    assert not status.get("failures") and not status.get("pendings")
    # From where the first of them was added: full pages, each object once, in the order of adding.
    first = session.get(f"{url}manifest/", params={"match[id]": bundle[0]["id"]}, timeout=30).json()["objects"][0]["date_added"]
    earlier = datetime.datetime.fromisoformat(first.replace("Z", "+00:00")) - datetime.timedelta(microseconds=1)
    filters = {"limit": 1000, "added_after": earlier.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
    sizes, back = [], []
    begun = time.monotonic()
    while True:
        page = session.get(f"{url}objects/", params=filters, timeout=30).json()
        sizes.append(len(page["objects"]))
        back += page["objects"]
        if not page.get("more"):
            break
        filters["next"] = page["next"]
    read = time.monotonic() - begun
    assert sizes == [1000] * (len(bundle) // 1000) + [len(bundle) % 1000], sizes
    assert [one["id"] for one in back] == [one["id"] for one in bundle]
    assert all(one == wanted[one["id"]] for one in back)
    print(f"\nATT&CK in one request: {len(body) >> 20} MiB, {len(bundle)} objects: taken in {took:.1f} s, read back in {read:.1f} s")


def test_what_is_given_out_keeps_the_rules_that_others_check(country):
    """What is taken passes stix2-validator when it is given out again; what cannot is refused and says why."""
    root, token = country.at("taxii"), country.at("taxii_token")
    session = requests.Session()
    session.headers.update({"Accept": TAXII, "Authorization": f"Bearer {token}"})
    url = f"{root}collections/{country.at('taxii_collection')}/objects/"

    def indicator(**more):
        return {
            "type": "indicator", "spec_version": "2.1", "id": f"indicator--{uuid.uuid4()}", "created": "2026-01-05T08:00:00.000Z",
            "modified": "2026-01-05T08:00:00.000Z", "indicator_types": ["malicious-activity"], "name": "x", "pattern_version": "2.1",
            "pattern": "[ipv4-addr:value = '198.51.100.7']", "pattern_type": "stix", "valid_from": "2026-01-05T08:00:00Z", **more}

    def push(*objects):
        answer = session.post(url, data=json.dumps({"objects": objects}), headers={"Content-Type": TAXII}, timeout=10)
        assert answer.status_code == 202, answer.text
        return answer.json()

    good = [
        indicator(), indicator(created="2026-01-05T08:00:00Z", modified="2026-01-05T08:00:00Z"),
        indicator(created="2026-01-05T08:00:00.5Z", modified="2026-01-06T08:00:00.25Z"),
        indicator(created="2026-01-05T08:00:00.000001Z", modified="2026-01-05T08:00:00.000001Z"),
        indicator(extensions={"extension-definition--5f0e31c2-2ea6-4a3b-9b0c-3f0f5f6d2c11": {"extension_type": "property-extension", "weight": 5}}),
        {"type": "ipv4-addr", "spec_version": "2.1", "id": f"ipv4-addr--{uuid.uuid4()}", "value": "198.51.100.7"},
    ]
    assert push(*good)["success_count"] == len(good)
    for sent in good:
        one = session.get(f"{url}{sent['id']}/", timeout=10).json()["objects"][0]
        result = stix2validator.validate_instance(one, stix2validator.ValidationOptions(version="2.1"))
        assert result.is_valid, (one, result.errors)
        for name in ("created", "modified"):
            same = lambda text: datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
            assert name not in sent or same(one[name]) == pytest.approx(same(sent[name]), abs=1e-6)
    for field, bad in {
        "x_list": indicator(x_list=[]), "x_map.list": indicator(x_map={"list": []}), "labels": indicator(labels=[]),
        "created": indicator(created="2026-01-05 08:00:00Z"), "x_none": indicator(x_none=None),
    }.items():
        status = push(bad)
        assert status["failure_count"] == 1 and field in status["failures"][0]["message"], status


def test_uuid_of_nobody_is_not_found(country):
    root, token = country.at("taxii"), country.at("taxii_token")
    ask = {"Accept": TAXII, "Authorization": f"Bearer {token}"}
    answer = requests.get(f"{root}collections/{uuid.uuid4()}/objects/", headers=ask, timeout=10)
    assert answer.status_code == 404 and answer.json()["http_status"] == "404"
