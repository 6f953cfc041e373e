"""Incidents, checks and drills of the exchange in a real browser: the picture of a case with what it is about, from the case
and back; a member checked by the sites' agents with the finding beside the case; a drill's record that the command line
sends. In both languages, on a phone, without scripts, accessible; and for nobody who may not."""

import json
import re
import subprocess
import time

import pytest
import requests
from browser import DESK, PHONE, accessible, chromium, fits
from console import LANGUAGES, signed_in

from api import Api, make_token, sign_in
from country import BIN, wait_for
from test_glass import established, sessions_up

TEXTS = re.compile(r"(op|x|xk|xks)-")
# The member of the sandbox that has a login of its own.
OWNER, OWN_ASN = "twaren-owner", 7539
FRAMES = "#incident-picture svg rect[rx='10']"


def window(country, person, language, size=DESK):
    return signed_in(chromium, country.at("console"), country.logins()[person], language=language, size=size)


def good(console, what):
    accessible(console.driver, what)
    fits(console.driver, what)
    missing = [key for key in console.message_keys() if TEXTS.match(key)]
    assert not missing, f"{what}: {missing}"


def member_of(api, asn):
    return next(one for one in api.get("/exchange/members")["items"] if one["fields"]["asn"] == asn)


@pytest.fixture(scope="module")
def case(country):
    """A case of a member of the sandbox, sent in."""
    operator, owner = Api(country, "operator"), Api(country, OWNER)
    member = next(one for one in operator.get("/exchange/members")["items"] if one["fields"]["asn"] == OWN_ASN)
    case = owner.call("POST", "/cases", 201, json={"form": "ix-contact", "org": member["fields"]["org"], "values": {
        "subject": "our sessions", "asn": OWN_ASN, "change": "set", "role": "technical", "contact_name": "林新人",
        "contact_email": "new@net.example"}}).json()
    owner.call("POST", f"/cases/{case['id']}/steps", 200, json={"version": case["version"], "action": "submit", "comment": ""})
    return case["id"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_incident_is_seen_on_the_picture_and_a_member_checked_for_it(country, case, language):
    established(country)
    with window(country, "operator", language) as operator:
        operator.go(f"/cases/{case}")
        operator.press(f"#content a[href='/exchange/incidents/{case}']")
        assert operator.path() == f"/exchange/incidents/{case}"
        good(operator, "an incident's picture")
        framed = len(operator.all(FRAMES))
        assert framed, "the member of the case's organisation"
        chosen = member_of(Api(country, "operator"), 1659)["id"]
        form = f"#content form[action='/exchange/incidents/{case}/affected']"
        operator.driver.execute_script("arguments[0].value = arguments[1]", operator.one(f"{form} select[name='thing']"), chosen)
        operator.press(f"{form}:has(select) button")
        assert len(operator.all(FRAMES)) > framed, "it is framed too"
        good(operator, "an incident with what it is about")

        # The members' routers of the sandbox are on loopback: everything answers.
        check = "#content form[action='/exchange/checks']"
        operator.driver.execute_script("arguments[0].value = '1659'", operator.one(f"{check} select[name='asn']"))
        operator.send(check)
        assert re.fullmatch(r"/exchange/checks/[0-9a-f-]{36}", operator.path()), operator.text()
        assert "as1659" in operator.text() and "127.72." in operator.text()
        good(operator, "a check's findings")
        operator.press(f"#content a[href='/exchange/incidents/{case}']")
        assert operator.all("#content a[href^='/exchange/checks/']"), "the finding is beside the case"
        operator.press(f"#content a[href='/cases/{case}']")
        assert operator.path() == f"/cases/{case}"
        operator.go("/exchange/checks")
        good(operator, "checks")

    with window(country, "operator", language, PHONE) as operator:
        operator.go(f"/exchange/incidents/{case}")
        good(operator, "an incident on a phone")
        framed = len(operator.all(FRAMES))
        form = f"#content form[action='/exchange/incidents/{case}/affected']"
        operator.press(f"{form}:has([name='off']) button")
        assert len(operator.all(FRAMES)) < framed, "the mark is taken away"

    # Without scripts the same page holds the picture; members and strangers have none of it.
    page = sign_in(country, "operator").get(country.at("console") + f"/exchange/incidents/{case}", timeout=20).text
    assert "<svg" in page and "incident-picture" in page
    for person in (OWNER, "water-owner"):
        answer = sign_in(country, person).get(country.at("console") + f"/exchange/incidents/{case}", timeout=20, allow_redirects=False)
        assert answer.status_code in (303, 403, 404), f"{person}: {answer.status_code}"


def test_the_picture_follows_the_sessions(country, case):
    established(country)
    with window(country, "operator", "en") as operator:
        operator.go(f"/exchange/incidents/{case}")
        before = operator.one("#incident-picture").get_attribute("innerHTML")
        api = Api(country, "operator")
        member = member_of(api, 1659)["id"]
        routers = {one["id"] for one in api.get("/exchange/routers", params={"member": member})["items"]}
        session = next(one for one in api.get("/exchange/sessions", params={"type": "route-server", "limit": 200})["items"]
                       if one["fields"]["router"] in routers and one["fields"]["family"] == "ipv4")
        path = f"/exchange/sessions/{session['id']}"
        api.call("PATCH", path, 200, json={"wanted": "down"})
        try:
            wait_for(lambda: operator.one("#incident-picture").get_attribute("innerHTML") != before, 40, "the picture's change")
        finally:
            api.call("PATCH", path, 200, json={"wanted": "up"})
    established(country)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_drills_record_comes_from_the_command_and_is_shown(country, tmp_path, language):
    established(country)
    title = f"drill {language} {time.time_ns()}"
    socket = re.search(r'bird_socket = "(.*)"', (country.dir / "nodes/exchange-tainan/node.toml").read_text())[1]
    conf = country.dir / "nodes/exchange-tainan/bird.conf"
    (tmp_path / "places.toml").write_text(f'[[places]]\nsite = "tainan"\nsocket = "{socket}"\nconfig = "{conf}"\n')
    (tmp_path / "plan.toml").write_text(
        f'title = "{title}"\ntitle_zh = "演練 {title}"\nmax_s = 60\n'
        '[[steps]]\ndo = "disable"\nsite = "tainan"\nsessions = ["as*_v4"]\n'
        '[[steps]]\ndo = "wait"\nseconds = 1\n[[steps]]\ndo = "restore"\n')
    token = tmp_path / "token"
    token.write_text(make_token(country, "operator"))
    token.chmod(0o600)
    told = subprocess.run(
        [BIN, "exchange", "drill", "run", str(tmp_path / "plan.toml"), "--places", str(tmp_path / "places.toml"),
         "--record", str(tmp_path / "records"), "--yes", "--tell", "--token-file", str(token), "--dir", str(country.dir)],
        capture_output=True, text=True, timeout=120)
    assert "the record is sent" in told.stdout, told
    record = json.loads(next((tmp_path / "records").glob("drill-*.json")).read_text())
    with window(country, "operator", language) as operator:
        operator.go("/exchange/drills")
        assert title in operator.text() and "civicnet exchange drill run" in operator.text()
        good(operator, "drills")
        operator.press(f"#content a[href='/exchange/drills/{record['id']}']")
        assert "tainan" in operator.text() and "_v4" in operator.text()
        good(operator, "a drill")
    with window(country, "operator", language, PHONE) as operator:
        operator.go(f"/exchange/drills/{record['id']}")
        good(operator, "a drill on a phone")
    api = Api(country, "operator")
    assert record["id"] in {one["id"] for one in api.get("/exchange-drills")}
    # The same again changes nothing; what is none is refused; who is no operator may not.
    api.call("POST", "/exchange-drills", 200, json=record)
    api.call("POST", "/exchange-drills", 422, json={"version": 1})
    Api(country, "water-owner").call("POST", "/exchange-drills", 403, json=record)
    wait_for(lambda: sessions_up(country, "tainan", 2), 60, "the sessions of Tainan")
    assert requests.get(country.at("console") + "/exchange/drills", timeout=10, allow_redirects=False).status_code == 303
