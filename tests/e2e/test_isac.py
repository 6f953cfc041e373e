"""Incident response in a real browser: a report from a phone, review in time, an alert that is answered, a light that
says why, and a citizen who reads about it; a control plane that dies in the middle of a review loses nothing."""

import re
from datetime import datetime, timedelta, timezone

import pytest
import requests
from browser import DESK, PHONE, accessible, chromium, fits
from console import LANGUAGES, Console, signed_in
from country import wait_for
from selenium.webdriver.support.ui import Select

TAIPEI = timezone(timedelta(hours=8))
RED = {"zh-TW": "紅燈", "en": "Red"}
ORANGE = {"zh-TW": "橙燈", "en": "Orange"}
LATE = {"zh-TW": "如期", "en": "In time"}


def window(country, person, language, size=DESK):
    return signed_in(chromium, country.at("console"), country.logins()[person], language=language, size=size)


def moment(console, name, value):
    """Sets a control of date and time, whatever order the browser's language types it in."""
    console.driver.execute_script(
        "const f = document.querySelector(`#content [name='${arguments[0]}']`); f.value = arguments[1];", name, value)


def act(console, case, action):
    console.go(f"/cases/{case}/do/{action}")
    console.fill("comment", "已查證 checked")
    console.send(f"#content form[action='/cases/{case}/do/{action}']")


def member(console, name, sector, asset):
    """Makes an organisation a member, as a duty officer does."""
    console.go("/members")
    link = next(a for a in console.all("#content table a") if name in a.text)
    console.go(link.get_attribute("href").removeprefix(console.base))
    Select(console.one("[name=sector]")).select_by_value(sector)
    console.fill("assets", asset)
    console.send("#content form[action^='/members/']")
    return link


def report(console, subject, level):
    """Fills in the report's three pages and sends it; the case's id."""
    console.go("/apply/incident-report")
    console.send("#content form[action='/apply/incident-report']")
    case = re.search(r"/cases/([0-9a-f-]{36})/", console.path())[1]
    step = "#content form[action*='/edit/']"
    console.fill("subject", subject)
    Select(console.one("[name=category]")).select_by_value("malware")
    moment(console, "known_at", (datetime.now(TAIPEI) - timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M"))
    console.fill("description", "監控伺服器的檔案遭加密,已改為人工操作。")
    accessible(console.driver, "the report's first page")
    console.send(step)
    Select(console.one("[name=confidentiality]")).select_by_value("0")
    Select(console.one("[name=integrity]")).select_by_value(str(level))
    Select(console.one("[name=availability]")).select_by_value("1")
    console.send(step)
    console.fill("contact_name", "李大華")
    console.fill("contact_phone", "02-1234-5678")
    console.send(step)
    console.go(f"/cases/{case}/do/submit")
    console.send(f"#content form[action='/cases/{case}/do/submit']")
    return case


@pytest.mark.parametrize("language", LANGUAGES)
def test_from_report_to_citizen(country, language):
    subject = f"淨水場監控伺服器遭加密 {language}"
    names = {"zh-TW": "北區自來水事業", "en": "Northern water works"}
    with window(country, "officer-1", language) as officer:
        member(officer, names[language], "water", "SCADA Historian")

    with window(country, "water-owner", language, PHONE) as reporter:
        case = report(reporter, subject, 3)
        reporter.go(f"/incidents/{case}")
        assert subject in reporter.text()
        fits(reporter.driver, "an incident on a phone")
        accessible(reporter.driver, "an incident on a phone")
        assert not reporter.message_keys()
        reporter.go("/incidents")
        accessible(reporter.driver, "incidents on a phone")

    with window(country, "officer-1", language) as officer:
        officer.go("/")
        assert subject in officer.text(), "the home names what is due next"
        officer.go("/incidents")
        assert subject in officer.text()
        act(officer, case, "accept")
        officer.go(f"/incidents/{case}")
        assert officer.text().count(LATE[language]) == 2, "the report and its review are in time"
        accessible(officer.driver, "a reviewed incident")

    # A level 3 incident turns the light of the utility, and the light says why.
    with window(country, "water-owner", language) as reporter:
        # The other language's incident may have turned it before: this one must be among the reasons.
        reporter.go("/lights")
        own = reporter.one("#content table a[href^='/lights/']").get_attribute("href").removeprefix(reporter.base)
        wait_for(lambda: (reporter.go(own), subject in reporter.text())[1], what="the light to say why")
        assert ORANGE[language] in reporter.text() or RED[language] in reporter.text()
        reporter.go("/lights")
        accessible(reporter.driver, "lights")
        reporter.go("/lights/wall")
        assert reporter.all(".lamps .tile"), "a lamp for each light"
        accessible(reporter.driver, "the wall")
    with window(country, "power-owner", language) as other:
        other.go("/lights")
        assert subject not in other.text() and names[language] not in other.text()
        other.go(f"/incidents/{case}")
        assert subject not in other.text(), "another member's incident does not exist"

    advisory = f"歷史資料庫漏洞 {language}"
    with window(country, "officer-1", language) as officer:
        officer.go("/apply/alert")
        officer.send("#content form[action='/apply/alert']")
        alert = re.search(r"/cases/([0-9a-f-]{36})/", officer.path())[1]
        step = "#content form[action*='/edit/']"
        officer.fill("subject", advisory)
        for name, value in (("kind", "ewa"), ("severity", "high"), ("tlp", "clear")):
            Select(officer.one(f"[name={name}]")).select_by_value(value)
        officer.fill("summary", "SCADA Historian 的漏洞正遭利用,請更新。")
        officer.fill("advice", "立即更新並查看登入紀錄。")
        officer.send(step)
        # What is asked now belongs to an early warning only.
        assert not officer.all("[name=hosts]") and not officer.all("[name=urls]")
        Select(officer.one("[name=subkind_ewa]")).select_by_value("exposure")
        officer.fill("warning_source", "原廠通告")
        officer.fill("targets", "192.0.2.7")
        officer.send(step)
        officer.fill("cves", "CVE-2026-12345")
        officer.fill("products", "SCADA Historian 9")
        officer.send(step)
        officer.one("[name=sector_water]").click()
        officer.send(step)
        Select(officer.one("[name=reply]")).select_by_value("verdict")
        officer.fill("reply_hours", "24")
        officer.one("[name=public]").click()
        officer.send(step)
        officer.go(f"/cases/{alert}/do/submit")
        officer.send(f"#content form[action='/cases/{alert}/do/submit']")
        assert not officer.all(f"#content a[href='/cases/{alert}/do/publish']"), "the author does not publish"
    with window(country, "officer-2", language) as second:
        act(second, alert, "publish")

    with window(country, "water-owner", language) as reporter:
        reporter.go(f"/alerts/{alert}")
        assert advisory in reporter.text() and "原廠通告" in reporter.text()
        accessible(reporter.driver, "an alert")
        reporter.one("#content [name=reply][value=incident]").click()
        reporter.fill("remark", "已隔離主機")
        reporter.fill("found", "連線紀錄相符")
        reporter.fill("done", "已更新韌體")
        reporter.send(f"#content form[action='/alerts/{alert}/reply']")
    with window(country, "power-owner", language) as other:
        other.go("/alerts")
        assert advisory not in other.text(), "sent to the water sector only"
    with window(country, "officer-2", language) as second:
        second.go(f"/alerts/{alert}")
        for said in ("已隔離主機", "連線紀錄相符", "已更新韌體"):
            assert said in second.text()

    tag = "zh" if language == "zh-TW" else "en"
    page = requests.get(country.at("console") + f"/open/{tag}/advisories", timeout=10)
    assert page.status_code == 200 and advisory in page.text
    assert "set-cookie" not in page.headers and "public" in page.headers["cache-control"]
    feed = requests.get(country.at("console") + f"/open/{tag}/feed.atom", timeout=10)
    assert advisory in feed.text and feed.headers["content-type"].startswith("application/atom+xml")
    with chromium(language=language, size=PHONE) as driver:
        citizen = Console(driver, country.at("console"))
        citizen.go(f"/open/{tag}")
        assert advisory in citizen.text()
        accessible(driver, "the public site")
        fits(driver, "the public site on a phone")
        citizen.go("/public/report")
        citizen.fill("text", "收到假冒水費的簡訊")
        accessible(driver, "a citizen's report")
        citizen.send("#content form[action^='/public/report']")
        code = citizen.one("#content code").text
        citizen.go("/public/follow")
        citizen.fill("code", code.lower())
        citizen.send("#content form[action='/public/follow']")
        assert "收到假冒水費的簡訊" in citizen.text()


def test_control_dies_in_the_middle_of_a_review(fragile):
    """Steps that were answered stay; the step under way happened whole or not at all."""
    country = fragile
    with window(country, "water-owner", "zh-TW") as reporter:
        case = report(reporter, "中斷測試", 3)
    with window(country, "officer-1", "zh-TW") as officer:
        officer.go(f"/cases/{case}/do/accept")
        officer.fill("comment", "審核中")
        country.kill_node("control")
        officer.driver.set_page_load_timeout(5)
        try:
            officer.one("#content form button[type=submit]").click()
        except Exception:  # noqa: BLE001 - whatever the browser says about a server that is gone
            pass
    wait_for(lambda: requests.get(country.at("console") + "/login", timeout=2).status_code == 200, 60, "the console again")
    with window(country, "officer-1", "zh-TW") as officer:
        officer.go(f"/incidents/{case}")
        assert "中斷測試" in officer.text() and "第 3 級" in officer.text()
        if officer.all(f"#content a[href='/cases/{case}/do/accept']"):
            act(officer, case, "accept")
            officer.go(f"/incidents/{case}")
        assert officer.text().count("如期") == 2, "the report and its review, each once"


@pytest.mark.parametrize("edge", ["hsinchu", "taichung", "tainan"])
def test_the_public_pages_come_through_the_cdn_and_nothing_else_does(country, edge):
    host = "www.isac.gov.test"
    assert country.addresses(host, source="127.16.1.10"), "the name leads to an edge"
    for tag, word in (("zh", "lang=\"zh-TW\""), ("en", "lang=\"en\"")):
        wait_for(lambda: country.get(edge, host, f"/open/{tag}").status_code == 200, 10, "the front page")
        page = country.get(edge, host, f"/open/{tag}")
        assert word in page.text and "hit" in page.headers["cache-status"], page.headers
        assert "set-cookie" not in page.headers
    style = re.search(r'<link rel="stylesheet" href="([^"]+)"', page.text)[1]
    assert country.get(edge, host, style).status_code == 200
    front = country.get(edge, host, "/")
    assert front.status_code == 303 and front.headers["location"] == "/open", front.headers
    assert country.get(edge, host, "/public/report").status_code == 200
    for path in ("/login", "/cases", "/api/v1/me", "/sites", "/openness"):
        # The same name, as a client may write it.
        for written in (host, host + ".", host.upper()):
            assert country.get(edge, written, path).status_code == 404, (written, path)
    assert requests.get(country.at("console") + "/login", timeout=10).status_code == 200
