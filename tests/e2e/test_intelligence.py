"""Intelligence and enforcement in a real browser: an officer finds an indicator by Chinese words, sees its graph, asks why
something is blocked, undoes it with a reason; in both languages, on desk and phone, accessible; and the same by the command line."""

import json
import os
import subprocess

import pytest
import requests
from api import Api
from browser import DESK, PHONE, accessible, chromium, fits
from console import LANGUAGES, signed_in
from country import BIN, wait_for
from selenium.webdriver.support.ui import Select
from test_enforcement import EDGES, indicator, push, status

WORDS = {"zh-TW": {"blocked": "被阻擋", "free": "沒有被阻擋", "pattern": "位址 等於", "undone": "已解除"},
         "en": {"blocked": "is blocked", "free": "is not blocked", "pattern": "the address is", "undone": "Undone"}}
# Texts that were left as their keys, besides those that every page is looked at for.
KEYS = ("intel-", "enforce-", "policy-", "kind-", "lane-", "opinion-", "observable-", "target-", "action-")


def looks_right(console, what):
    accessible(console.driver, what)
    fits(console.driver, what)
    assert not console.message_keys(), console.message_keys()
    shown = console.driver.execute_script(
        "return [...document.querySelectorAll('#content h1,#content h2,#content label,#content button,#content th,#content dt,#content a,#content p')]"
        ".map(e => e.textContent.trim())")
    left = [text for text in shown if text.startswith(KEYS) and " " not in text and "--" not in text]
    assert not left, f"{what}: {left}"


def relation(number, **more):
    now = indicator("[url:value = 'http://a.example/']")["created"]
    return {"spec_version": "2.1", "created": now, "modified": now, **more}


def seed(country, address, words):
    """An indicator of a malware that an actor uses, and a sighting; the indicator."""
    bad = indicator(f"[ipv4-addr:value = '{address}']", name=words)
    suffix = bad["id"].split("--")[1]
    malware = relation(1, type="malware", id=f"malware--{suffix}", name="灰鴿 GrayPigeon", is_family=True)
    actor = relation(2, type="threat-actor", id=f"threat-actor--{suffix}", name="某境外組織")
    links = [
        relation(3, type="relationship", id=f"relationship--{suffix}", relationship_type="indicates",
                 source_ref=bad["id"], target_ref=malware["id"]),
        relation(4, type="relationship", id=f"relationship--{suffix[:-1]}{'0' if suffix[-1] != '0' else '1'}", relationship_type="uses",
                 source_ref=actor["id"], target_ref=malware["id"]),
        relation(5, type="sighting", id=f"sighting--{suffix}", sighting_of_ref=bad["id"], count=3,
                 first_seen=bad["created"], last_seen=bad["created"]),
    ]
    push(country, bad, malware, actor, *links)
    return bad


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_officer_finds_asks_and_undoes(country, language):
    address = {"zh-TW": "127.16.7.1", "en": "127.16.7.2"}[language]
    words = f"釣魚郵件中繼站{language}"
    bad = seed(country, address, words)
    says = WORDS[language]
    wait_for(lambda: all(status(country, edge, source=address) == 403 for edge in EDGES), 5, "all edges refuse")
    with signed_in(chromium, country.at("console"), country.logins()["officer-1"], language=language, size=DESK) as officer:
        assert "/intelligence" in officer.rooms() and "/enforcements" in officer.rooms()

        def found():
            officer.go("/intelligence")
            officer.fill("q", "郵件中繼站")
            officer.send("#content form[action='/intelligence']")
            return [a for a in officer.all("#content table a") if a.text == words]

        link = wait_for(found, 15, "the index has it")[0]
        looks_right(officer, "search")
        officer.follow(link.click)
        assert says["pattern"] in officer.text() and address in officer.text()
        looks_right(officer, "an object")
        for view in ("relations", "graph", "timeline", "versions"):
            officer.press(f"#content nav.tabs a[href$='/{view}']")
            looks_right(officer, view)
            if view == "graph":
                assert officer.one("#content figure svg a[href*='threat-actor--']"), "two steps on"
                assert "某境外組織" in officer.text(), "the same as text"

        officer.go(f"/enforcements/why?target={address}")
        assert says["blocked"] in officer.text() and says["free"] not in officer.text()
        looks_right(officer, "why")
        officer.press("#content .notice a")
        wait_for(lambda: [officer.go(officer.path())] and "hsinchu" in officer.text(), 20, "hits by edge")
        assert words in officer.text(), "the thread begins at the indicator"
        looks_right(officer, "an enforcement")
        at = officer.path()
        officer.press(f"#content a[href='{at}/undo']")
        looks_right(officer, "the question before undoing")
        officer.fill("why", "誤判 false alarm")
        officer.send(f"#content form[action='{at}/undo']")
        assert says["undone"] in officer.text()
        wait_for(lambda: all(status(country, edge, source=address) == 200 for edge in EDGES), 5, "all edges serve again")
        officer.go(f"/enforcements/why?target={address}")
        assert says["free"] in officer.text()

        officer.go(f"/intelligence/{bad['id']}/feedback")
        officer.fill("explanation", "我方掃描主機 our own scanner")
        looks_right(officer, "feedback")
        officer.send("#content form[action$='/feedback']")
        for path in ("/enforcements", "/enforcements?state=all", "/enforcements/new", "/enforcements/policy"):
            officer.go(path)
            looks_right(officer, path)


def test_a_member_makes_an_indicator_on_a_phone_and_sees_no_enforcement(country):
    with signed_in(chromium, country.at("console"), country.logins()["water-owner"], language="zh-TW", size=PHONE) as member:
        assert "/enforcements" not in member.rooms()
        member.go("/enforcements")
        assert "127.16" not in member.text()
        for path in ("/intelligence", "/intelligence/new", "/intelligence/import"):
            member.go(path)
            looks_right(member, path)


def test_an_officer_makes_imports_and_simulates(country, tmp_path):
    with signed_in(chromium, country.at("console"), country.logins()["officer-1"], language="zh-TW", size=PHONE) as officer:
        officer.go("/intelligence/new")
        officer.fill("value", "999.1.1.1")
        officer.fill("name", "壞位址")
        officer.send("#content form[action='/intelligence/new']")
        assert officer.one("#content [name=value][aria-invalid=true]"), "the error stands at its field"
        looks_right(officer, "a form with an error")
        officer.fill("value", "127.16.7.9")
        Select(officer.one("#content [name=kind]")).select_by_value("ip")
        officer.send("#content form[action='/intelligence/new']")
        assert "indicator--" in officer.path()

        file = tmp_path / "list.csv"
        file.write_text("ip,127.16.7.33,測試匯入\nip,999.9.9.9,wrong\n")
        officer.go("/intelligence/import")
        officer.one("#content [name=file]").send_keys(str(file))
        Select(officer.one("#content [name=format]")).select_by_value("csv")
        officer.send("#content form[action*='/intelligence/import']")
        assert "測試匯入" in officer.text() and "line 2" in officer.text()
        looks_right(officer, "the preview of an import")
        officer.send("#content form[action^='/intelligence/import/']")
        officer.wait(lambda _: "完成" in officer.text(), "stored")

        officer.go("/enforcements/simulate")
        officer.fill("target", "127.0.0.0/8")
        officer.send("#content form[action='/enforcements/simulate']")
        officer.wait(lambda _: "過去一天" in officer.text(), "the simulation ends")
        looks_right(officer, "a simulation")


def test_the_command_line_says_why_and_undoes(country):
    api = Api(country, "operator")
    made = api.call("POST", "/enforcements", 201, json={"targets": ["127.16.7.77"], "reason": "e2e"}).json()

    def civicnet(*words, code=0):
        done = subprocess.run([BIN, "enforce", *words, "--dir", str(country.dir)], capture_output=True, text=True, timeout=30,
                              env={**os.environ, "CIVICNET_TOKEN": api.token})
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    assert "127.16.7.77 is blocked" in civicnet("why", "127.16.7.77", code=3)
    told = json.loads(civicnet("why", "127.16.7.77", "--json", code=3))
    assert told["enforcements"][0]["id"] == made[0]["id"]
    assert made[0]["id"] in civicnet("list")
    assert "lifted" in civicnet("undo", made[0]["id"])
    assert "not blocked" in civicnet("why", "127.16.7.77")
    assert json.loads(civicnet("list", "--state", "lifted", "--json").splitlines()[0])["state"] == "lifted"
    civicnet("why", "nonsense!", code=1)
    civicnet("undo", "x", code=1)
    assert requests.get(country.at("api") + "/enforcements", timeout=10).status_code == 401
