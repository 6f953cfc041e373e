"""The JSON API from outside: held against its own description, and asked for what operators and owners need."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from api import Api, sign_in
from country import wait_for

EDGES = ("hsinchu", "taichung", "tainan")
HOST = "www.library.gov.test"
NOBODY = "00000000-0000-7000-8000-000000000000"
CONFIG = Path(__file__).parent / "schemathesis.toml"


# ---------------------------------------------------------------- the description


@pytest.mark.parametrize("who", ["operator", "library-owner"])
def test_the_api_keeps_its_description(fragile, who):
    """Every check of schemathesis on every operation, with wrong data too; it may break the sandbox."""
    out = subprocess.run(
        [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG), "run", fragile.at("openapi"),
         "--header", "Authorization: Bearer " + Api(fragile, who).token, "--checks", "all", "--max-examples", "20", "--no-shrink",
         "--continue-on-failure", "--no-color", "--warnings", "off"],
        capture_output=True, text=True, timeout=300, cwd=fragile.dir)
    assert out.returncode == 0, out.stdout[-12000:] + out.stderr[-2000:]
    assert "No issues found" in out.stdout, out.stdout[-2000:]


# ---------------------------------------------------------------- purge and preload


def state(country, edge, path):
    """What the edge says of its cache for the page: the `Cache-Status` of RFC 9211."""
    answer = country.get(edge, HOST, path)
    assert answer.status_code == 200, f"{edge} {path}: {answer.status_code}"
    return answer.headers["cache-status"]


def warm(country, *paths):
    for path in paths:
        for edge in EDGES:
            wait_for(lambda: "; hit" in state(country, edge, path), 15, f"a hit on {edge} for {path}")


def kept(country, edge, path):
    """Whether the edge has the page, without fetching it: `Cache-Control: only-if-cached` (RFC 9111 section 5.2.1.7)."""
    answer = country.get(edge, HOST, path, headers={"cache-control": "only-if-cached"})
    assert answer.status_code in (200, 504), f"{edge} {path}: {answer.status_code}"
    return answer.status_code == 200


def purged_within(country, owner, site, path, request, seconds=10):
    """Purges, and the time until no edge has the page, judged each 10 ms."""
    began = time.monotonic()
    owner.call("POST", f"/sites/{site}/purges", 202, json=request)
    left = list(EDGES)
    while left:
        left = [edge for edge in left if kept(country, edge, path)]
        taken = time.monotonic() - began
        assert taken < seconds, f"after {taken:.1f} s {path} is still on {left}: {request}"
        if left:
            time.sleep(0.01)
    return taken


@pytest.fixture(scope="module")
def owner(country):
    return Api(country, "library-owner")


@pytest.fixture(scope="module")
def site(country, owner):
    found = owner.site()
    for edge in EDGES:
        wait_for(lambda: country.get(edge, HOST, "/").status_code == 200, 30, f"the site on {edge}")
    return found


@pytest.mark.parametrize(("path", "other", "request_"), [
    ("/news/2.html", "/news/3.html", {"what": "url", "values": [f"http://{HOST}/news/2.html"]}),
    ("/news/4.html", "/static/site.css", {"what": "prefix", "values": ["/news/"]}),
    ("/news/5.html", "/static/site.css", {"what": "tag", "values": ["news"]}),
])
def test_a_purge_forgets_what_it_names_and_nothing_else(country, owner, site, path, other, request_):
    warm(country, path, other)
    purged_within(country, owner, site, path, request_ | {"reason": "e2e"})
    assert all(kept(country, edge, other) for edge in EDGES), f"{request_} forgot {other} too"


def test_purges_reach_every_edge(country, owner, site):
    took = []
    for n in range(20):
        path = f"/news/{n % 10 + 1}.html"
        warm(country, path)
        kind = ("url", "prefix", "tag")[n % 3]
        value = {"url": f"http://{HOST}{path}", "prefix": path, "tag": "news"}[kind]
        took.append(purged_within(country, owner, site, path, {"what": kind, "values": [value]}))
    took.sort()
    print(f"purge until no edge of {len(EDGES)} has it, 20 purges: p50 {took[9] * 1000:.0f} ms, p99 {took[-1] * 1000:.0f} ms")


def age(country, edge, path):
    """Seconds since the page came from the origin; it must be on the edge."""
    answer = country.get(edge, HOST, path, headers={"cache-control": "only-if-cached"})
    assert answer.status_code == 200, f"{edge} forgot {path}: {answer.status_code}"
    return int(answer.headers["age"])


def test_a_soft_purge_refreshes_and_forgets_nothing(country, owner, site):
    path = "/news/7.html"
    warm(country, path)
    for edge in EDGES:
        wait_for(lambda: age(country, edge, path) >= 3, 15, f"an older page on {edge}")
    owner.call("POST", f"/sites/{site}/purges", 202, json={"what": "url", "values": [f"http://{HOST}{path}"], "soft": True})
    end = time.monotonic() + 10
    left = list(EDGES)
    while left:
        # Never a miss: each asking has the stale page until the fresh one has come behind it.
        left = [edge for edge in left if age(country, edge, path) >= 3]
        assert time.monotonic() < end, f"{left} did not refresh {path}"
        time.sleep(0.02)


def test_a_preload_fills_every_edge_and_says_when(country, owner, site):
    urls = [f"http://{HOST}/news/{n}.html" for n in (8, 9, 10)]
    owner.call("POST", f"/sites/{site}/purges", 202, json={"what": "url", "values": urls})
    for edge in EDGES:
        wait_for(lambda: not any(kept(country, edge, url.split(HOST)[1]) for url in urls), 10, f"the purge on {edge}")
    order = owner.call("POST", f"/sites/{site}/preloads", 202, json={"urls": urls, "reason": "e2e"}).json()
    assert order["total"] == len(urls)

    def done():
        progress = owner.get(f"/sites/{site}/orders/{order['id']}")["progress"]
        return len(progress) >= len(EDGES) and all(one["done"] == one["total"] == len(urls) for one in progress) and progress

    progress = wait_for(done, 30, "the preload's progress", every=0.2)
    assert not any(one["failed"] for one in progress), progress
    for edge in EDGES:
        for url in urls:
            assert kept(country, edge, url.split(HOST)[1]), f"{edge} says it has {url}, and has not"
    listed = owner.get(f"/sites/{site}/orders")["items"]
    assert listed[0]["id"] == order["id"] and listed[0]["asked"]["kind"] == "preload"


# ---------------------------------------------------------------- who may do what


ROUTE_BODIES = {
    ("PUT", "/state"): {"state": "suspended"},
    ("POST", "/hosts"): {"host": "x.library.gov.test"},
    ("POST", "/versions"): {"base": 1, "config": None},
    ("PUT", "/active"): {"base": 1, "version": 1},
    ("POST", "/preview"): {},
    ("POST", "/certificates"): {"chain_pem": "x", "key_pem": "x"},
    ("POST", "/purges"): {"what": "tag", "values": ["news"]},
    ("POST", "/preloads"): {"urls": ["http://www.weather.gov.test/"]},
}


def site_routes(document):
    """Every operation below a site, from the description itself: a new route is tested without being listed here."""
    for path, item in document["paths"].items():
        if path.startswith("/api/v1/sites/{site}"):
            for method in ("get", "put", "post", "delete", "patch"):
                if method in item:
                    yield method.upper(), path.removeprefix("/api/v1/sites/{site}")


def test_another_organisations_site_does_not_exist(country, owner):
    weather = Api(country, "weather-owner")
    theirs = weather.site()
    own_config = weather.get(f"/sites/{theirs}/versions/0")["config"]
    before = weather.get(f"/sites/{theirs}"), weather.get(f"/sites/{theirs}/orders")["items"]
    routes = list(site_routes(requests.get(country.at("openapi"), timeout=10).json()))
    assert len(routes) >= 15, routes
    for method, below in routes:
        path = f"/sites/{theirs}" + (below.replace("{certificate}", NOBODY).replace("{order}", NOBODY).replace("{host}", "www.weather.gov.test")
                                     .replace("{version}", "1").replace("{by}", "urls"))
        body = ROUTE_BODIES.get((method, below))
        if below == "/versions" and body:
            body = body | {"config": own_config}
        answer = owner.call(method, path, **({"json": body} if body is not None else {}))
        assert answer.status_code == 404, f"{method} {path}: {answer.status_code}\n{answer.text}"
        assert answer.headers["content-type"] == "application/problem+json"
        missing = owner.call(method, path.replace(theirs, NOBODY), **({"json": body} if body is not None else {}))
        assert missing.status_code == 404, f"{method} of no site: {missing.status_code}"
    assert theirs not in [one["id"] for one in owner.get("/sites")["items"]]
    assert before == (weather.get(f"/sites/{theirs}"), weather.get(f"/sites/{theirs}/orders")["items"])


def test_a_viewer_may_look_and_not_purge(country, site):
    viewer = Api(country, "library-viewer")
    assert viewer.site() == site
    before = viewer.get(f"/sites/{site}/orders")["items"]
    for path, body in (("purges", {"what": "site"}), ("preloads", {"urls": [f"http://{HOST}/"]})):
        problem = viewer.call("POST", f"/sites/{site}/{path}", 403, json=body).json()
        assert problem["status"] == 403 and problem["detail"], problem
    viewer.call("PUT", f"/sites/{site}/state", 403, json={"state": "suspended"})
    assert viewer.get(f"/sites/{site}/orders")["items"] == before


def test_a_session_needs_the_pages_token_to_change_anything(country, site):
    session = sign_in(country, "library-owner")
    purges = f"{country.at('api')}/sites/{site}/purges"
    body = {"what": "tag", "values": ["nothing-has-it"]}
    assert session.post(purges, json=body, timeout=10).status_code == 403
    page = session.get(country.at("console") + "/account", timeout=10).text
    token = page.split('name="csrf" value="')[1].split('"')[0]
    assert session.post(purges, json=body, headers={"x-csrf-token": token}, timeout=10).status_code == 202
    wrong = session.post(purges, json=body, headers={"x-csrf-token": token, "origin": "https://elsewhere.test"}, timeout=10)
    assert wrong.status_code == 403
    assert requests.post(purges, json=body, timeout=10).status_code == 401
