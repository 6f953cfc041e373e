"""The console in a real browser: an agency's site from application to statistics, and pages that everybody can use."""

import re
import time
from urllib.parse import urlparse

import pytest
import requests
from browser import DESK, PHONE, accessible, chromium, fits
from console import LANGUAGES, Console, signed_in
from country import wait_for
from selenium.webdriver.support.ui import Select

TAIPEI, KAOHSIUNG = "127.16.1.10", "127.20.3.10"
# A site of its own for each language, so that the story is told from its beginning in both, and the content that the
# second origin has for it: a host it does not know gets its first site's.
SITES = {"zh-TW": ("www.museum.gov.test", "museum"), "en": ("www.museum2.gov.test", "weather")}


def window(country, person, language, size=DESK):
    return signed_in(chromium, country.at("console"), country.logins()[person], language=language, size=size)


def point(country, host, record):
    """Replaces the address of `host` in the agencies' zone file."""
    label = host.removesuffix(".gov.test")
    file = country.dir / "zones/gov.test.zone"
    lines = [line for line in file.read_text().splitlines() if line.split(" ")[0] != label]
    serial = re.compile(r"(SOA \S+ \S+ )(\d+)")
    lines = [serial.sub(lambda m: m[1] + str(int(m[2]) + 1), line) for line in lines]
    file.write_text("\n".join([*lines, f"{label} IN {record}"]) + "\n")


def act(console, case, action):
    """Takes a step of the case's work-flow on the page that asks for it."""
    console.go(case)
    console.press(f"#content a[href='{case}/do/{action}']")
    console.fill("comment", "OK")
    console.send(f"#content form[action='{case}/do/{action}']")


def offered(console, case):
    console.go(case)
    return {a.get_attribute("href").rsplit("/", 1)[1] for a in console.all(f"#content a[href^='{case}/do/']")}


def apply(console, host, origin):
    """Fills in the four pages of the form; the case's path."""
    console.go("/apply/cdn-site")
    console.send("#content form[action='/apply/cdn-site']")
    case = console.path().split("/edit/")[0]
    step = "#content form[action*='/edit/']"
    console.fill("name_zh", "地方博物館")
    console.fill("name_en", f"Local museum {host.split('.')[1]}")
    console.fill("purpose", "Exhibitions and opening hours for everybody.")
    console.send(step)
    console.fill("hosts", host)
    console.fill("origins", origin)
    console.send(step)
    Select(console.one("[name=traffic]")).select_by_value("small")
    console.send(step)
    console.fill("contact_name", "Museum owner")
    console.fill("contact_email", "owner@museum.gov.test")
    console.one("[name=agree]").click()
    console.send(step)
    assert console.path() == case, console.text()
    return case


def prove(console, content, case):
    """Does what the page says: puts the token into the file at the address shown."""
    console.go(case)
    address = re.search(r"http://[^\s/]+/\.well-known/[\w./-]+", console.text())[0]
    file = content / urlparse(address).path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(file.name)
    assert console.all("#content .notice-warn"), "not ready before the proof"
    console.send("#content form[action^='/sites/proofs']")
    assert console.all(".notice-good"), console.text()
    accessible(console.driver, case)


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_agency_brings_its_site(country, language):
    host, directory = SITES[language]
    content = country.dir / "origins" / directory
    index = content / "index.html"
    point(country, host, "A 127.40.2.1")
    wait_for(lambda: country.addresses(host) == ["127.40.2.1"], what="the zone file to be read")

    with window(country, "museum-owner", language) as owner:
        case = apply(owner, host, country.at("origin_2"))
        prove(owner, content, case)
        act(owner, case, "submit")
        assert not offered(owner, case) & {"start-review", "approve", "grant"}, "an applicant cannot decide on the own case"

    with window(country, "officer-1", language) as first:
        first.go("/review")
        assert case in first.driver.page_source, "the case waits for review"
        act(first, case, "start-review")
        act(first, case, "approve")
        assert "grant" not in offered(first, case), "one officer alone is not enough"
    with window(country, "officer-2", language) as second:
        assert "grant" in offered(second, case)
        accessible(second.driver, "a case under review")
        act(second, case, "grant")

    with window(country, "museum-owner", language) as owner:
        owner.go(case)
        site = next(a.get_attribute("href") for a in owner.all("#content dd a[href^='/sites/']"))
        site = urlparse(site).path
        owner.go(site)
        target = re.search(r"CNAME (\S+)\.", owner.text())[1]

        for edge in ("hsinchu", "tainan"):
            wait_for(lambda edge=edge: country.get(edge, host).status_code == 200, what=f"the site at {edge}")
        point(country, host, f"CNAME {target}.")
        wait_for(lambda: country.addresses(host, source=TAIPEI) != ["127.40.2.1"] and country.addresses(host, source=TAIPEI),
                 what="the answer of dispatch")
        near, far = (country.addresses(host, source=source)[0] for source in (TAIPEI, KAOHSIUNG))
        assert near != far and {near, far} <= {"127.30.1.1", "127.30.2.1", "127.30.3.1"}, (near, far)

        port = urlparse(country.at("edge_hsinchu_http")).port
        page = index.read_text()
        fresh = f"<!-- {language} {time.time_ns()} -->"
        for address in (near, far):
            answer = requests.get(f"http://{address}:{port}/", headers={"Host": host}, timeout=15)
            assert answer.status_code == 200 and answer.content.decode() == page, answer.text[:300]
        index.write_text(page + fresh)
        answers = [requests.get(f"http://{a}:{port}/", headers={"Host": host}, timeout=15).content.decode() for a in (near, far)]
        assert all(fresh not in text for text in answers), "both edges keep the old page"

        owner.go(f"{site}/purge")
        owner.one("input[name=what][value=url]").click()
        owner.fill("values", f"http://{host}/\nhttps://{host}/")
        owner.fill("reason", "new exhibition")
        owner.send(f"#content form[action='{site}/purge']")
        assert "/orders/" in owner.path(), owner.text()
        for address in (near, far):
            wait_for(lambda a=address: fresh in requests.get(f"http://{a}:{port}/", headers={"Host": host}, timeout=15).content.decode(),
                     what=f"the new page at {address}")

        def counted():
            owner.go(f"{site}/stats")
            figures = [int(e.text.replace(",", "")) for e in owner.all(".tile-value") if re.fullmatch(r"[\d,]+", e.text)]
            return any(figure >= 4 for figure in figures)

        wait_for(counted, 60, "the requests in the statistics", every=1)


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_pages_are_accessible(country, language, size):
    problems = []

    def look(console, path):
        console.go(path)
        shown = console.driver.execute_script("return document.documentElement.lang")
        if shown != language:
            problems.append(f"{path} is in {shown}, not {language}")
        for key in console.message_keys():
            problems.append(f"{path} shows the key {key}")
        for rule in (accessible, fits):
            try:
                rule(console.driver, path)
            except AssertionError as error:
                problems.append(str(error))

    seen = 0
    for person in ("operator", "officer-1", "library-owner", "auditor"):
        with window(country, person, language, size) as console:
            paths = [*console.rooms(), "/search?q=library"]
            if person == "library-owner":
                console.go("/sites")
                paths.append(urlparse(console.one("#content td a[href^='/sites/']").get_attribute("href")).path)
                console.go(paths[-1])
                paths += [urlparse(a.get_attribute("href")).path for a in console.all(".tabs a")] + ["/apply/cdn-site"]
            for path in dict.fromkeys(paths):
                look(console, path)
                seen += 1
    with chromium(language, size) as driver:
        for path in ("/", "/login", "/api"):
            look(Console(driver, country.at("console")), path)
    assert not problems, "\n\n".join(problems)
    assert seen >= 25, f"only {seen} pages were found"


HAN = re.compile(r"[\u4e00-\u9fff]")
# Forms whose emptiness is an act: leaving, settings of the frame, and what would end something for the other tests.
LEFT_ALONE = re.compile(r"/(logout|settings/|sessions/|display|people/|state|drain|delete|revoke|remove|lift|undo|end|approve|restore|withdraw)")
ERROR = re.compile(r"<p class=\"error\"[^>]*>(.*?)</p>", re.S)
MAIN = re.compile(r"<main.*?</main>", re.S)
ENGLISH = re.compile(r"<(?:small|span|p|code|pre|option|textarea)[^>]*lang=\"en\"[^>]*>.*?</(?:small|span|p|code|pre|option|textarea)>|<code.*?</code>", re.S)


def empty_forms(base, login):
    """Sends every form that the person meets without what is asked for: how many were refused, and what was not said in Chinese."""
    session = requests.Session()
    session.headers["Accept-Language"] = "zh-TW"
    session.cookies.set("cn_lang", "zh-TW")
    token = re.search(r'name="csrf" value="([^"]+)"', session.get(f"{base}/login").text)[1]
    session.post(f"{base}/login", data={"csrf": token, **{name: login[name] for name in ("email", "password")}})
    paths, seen = ["/account", "/account/tokens", "/account/second"], set()
    paths += re.findall(r'href="(/[^"?#]*)"', session.get(base).text)
    forms, refused, wrong = set(), 0, []
    while paths and len(seen) < 60:
        path = paths.pop(0)
        # One thing of a kind is enough.
        kind = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27,}", "ID", path)
        if kind in seen or LEFT_ALONE.search(path) or path.startswith(("/assets", "/api/")):
            continue
        seen.add(kind)
        page = session.get(base + path, timeout=30)
        if "html" not in page.headers.get("content-type", ""):
            continue
        main = MAIN.search(page.text)[0] if MAIN.search(page.text) else ""
        paths += re.findall(r'href="(/[^"?#]*)"', main)
        for tag, inside in re.findall(r"(<form[^>]*>)(.*?)</form>", main, re.S):
            action = re.search(r'action="([^"]*)"', tag)
            where = (action[1] if action else path).split("?")[0]
            shape = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27,}", "ID", where)
            if 'method="post"' not in tag or "multipart" in tag or shape in forms or LEFT_ALONE.search(where):
                continue
            if not re.search(r"<(input(?![^>]*hidden)|textarea)", inside):
                continue  # a mere button: pressing it is the whole of it
            forms.add(shape)
            hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', inside))
            empty = {name: "" for name in re.findall(r'<(?:input|textarea|select)[^>]* name="([^"]+)"', inside)}
            answer = session.post(base + where, data={**empty, **hidden}, timeout=30, allow_redirects=False)
            if answer.status_code < 400:
                continue
            refused += 1
            assert answer.status_code < 500, f"{where}: {answer.status_code}"
            for error in ERROR.findall(answer.text):
                if not HAN.search(re.sub(ENGLISH, "", error)):
                    wrong.append(f"{where}: {error}")
            shown = re.sub(r"<[^>]+>", " ", re.sub(ENGLISH, "", MAIN.search(answer.text)[0]))
            wrong += [f"{where}: {said}" for said in re.findall(r"[^.。]*\b(?:must (?:be|have|not)|is not permitted|invalid value|EOF while)\b[^.。]*", shown)]
    for path in ("/nothing-here", "/organisations/nobody"):
        page = session.get(base + path)
        if not HAN.search(re.sub(ENGLISH, "", MAIN.search(page.text)[0])):
            wrong.append(f"{path}: {page.status_code}")
    return refused, wrong


def test_empty_forms_are_answered_in_chinese(fragile):
    """What is wrong with a field, and why a page cannot be shown, is said in the reader's language."""
    refused, wrong = 0, []
    for person in ("officer-1", "library-owner", "tanet-owner"):
        few, english = empty_forms(fragile.at("console"), fragile.logins()[person])
        refused += few
        wrong += [f"{person} {said}" for said in english]
    assert not wrong, "\n".join(wrong)
    assert refused >= 10, f"only {refused} forms refused to be empty"
