"""The console's JSON API as its users have it: signed in over HTTP, with a token made under Account."""

import re

import requests

TOKEN = re.compile(r"cnt_[A-Za-z0-9_-]{20,}")


def csrf_of(page):
    return re.search(r'name="csrf" value="([^"]+)"', page)[1]


def sign_in(country, who):
    """A session in the console as the person `who` of `logins.json`."""
    login = country.logins()[who]
    session = requests.Session()
    console = country.at("console")
    page = session.get(console + "/login", timeout=10)
    answer = session.post(console + "/login", timeout=10, allow_redirects=False,
                          data={"csrf": csrf_of(page.text), "next": "", "email": login["email"], "password": login["password"]})
    assert answer.status_code == 303 and answer.headers["location"] == "/", f"{who} could not sign in: {answer.status_code}"
    return session


def make_token(country, who):
    """An API token with every scope that the page offers to `who`."""
    session = sign_in(country, who)
    address = country.at("console") + "/account/tokens"
    page = session.get(address, timeout=10).text
    scopes = re.findall(r'name="scopes" value="([^"]+)"', page)
    answer = session.post(address, timeout=10, data={"csrf": csrf_of(page), "name": "e2e", "days": "1", "scopes": scopes})
    assert answer.status_code == 200, f"no token for {who}: {answer.status_code}\n{answer.text[:2000]}"
    return TOKEN.search(answer.text)[0]


class Api:
    """The API as `who`."""

    def __init__(self, country, who):
        self.base = country.at("api")
        self.token = make_token(country, who)
        self.session = requests.Session()
        self.session.headers["authorization"] = "Bearer " + self.token

    def call(self, method, path, expect=None, **how):
        """The answer; fails unless its status is `expect`."""
        answer = self.session.request(method, self.base + path, timeout=how.pop("timeout", 15), **how)
        if expect is not None:
            assert answer.status_code == expect, f"{method} {path}: {answer.status_code}, not {expect}\n{answer.text[:2000]}"
        return answer

    def get(self, path, **how):
        return self.call("GET", path, how.pop("expect", 200), **how).json()

    def site(self, slug=None):
        """The id of the only site seen, or of the one labelled `slug`."""
        sites = [s for s in self.get("/sites")["items"] if slug is None or s["slug"] == slug]
        assert len(sites) == 1, f"not one site {slug!r}: {[s['slug'] for s in sites]}"
        return sites[0]["id"]
