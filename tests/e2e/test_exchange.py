"""A network joins the exchange in a real browser: it applies, two officers approve, it sees its ports, addresses and
sessions, reads its router configuration, asks for a blackhole and takes it back. In both languages, by the API, and
with nobody else's things in sight."""

import re
import zlib

import pytest
from browser import DESK, PHONE, accessible, chromium, fits
from console import LANGUAGES, signed_in
from selenium.webdriver.support.ui import Select

from api import Api

ASN = {"zh-TW": 64601, "en": 64602}
OWNER = {"zh-TW": "water-owner", "en": "power-owner"}
OTHER = {"zh-TW": "power-owner", "en": "water-owner"}
SPACE = {"zh-TW": "198.51.100.0/24", "en": "192.0.2.0/24"}
HOST = {"zh-TW": "198.51.100.7", "en": "192.0.2.7"}


def window(country, person, language, size=DESK):
    return signed_in(chromium, country.at("console"), country.logins()[person], language=language, size=size)


def good(console, what):
    accessible(console.driver, what)
    missing = [key for key in console.message_keys() if re.match(r"(peering|protection|ixrules|manrs)-", key)]
    assert not missing, f"{what}: {missing}"


def act(console, case, action):
    console.go(f"/cases/{case}/do/{action}")
    console.fill("comment", "已查證 checked")
    console.send(f"#content form[action='/cases/{case}/do/{action}']")


@pytest.fixture(scope="module")
def places(country):
    """A site of the exchange with a switch, free ports and a route server, made through the API."""
    api = Api(country, "operator")

    def make(path, **values):
        return api.call("POST", f"/exchange/{path}", 201, json=values).json()

    if not api.call("GET", "/exchange/profile", 200).json()["items"]:
        make("profile", name="E2E Exchange", short_name="E2EIX", country="TW", policy={"asn": 64500})
    make("sites", name="e2e-lab", title_zh="測試站", title_en="Test site", state="active")
    make("switches", name="e2e-sw", site="e2e-lab", vendor="eos", state="active")
    make("vlans", name="e2e-peering", tag=3999, purpose="peering", site="e2e-lab")
    make("lans", name="e2e-lan", vlan="e2e-peering", v4="203.0.113.0/24", v6="2001:db8:e2e::/64", mtu=1500)
    make("route-servers", name="e2e-rs", site="e2e-lab", lan="e2e-lan", router_id="203.0.113.1", v4="203.0.113.1",
         v6="2001:db8:e2e::1", blackhole_v4="203.0.113.66", state="active")
    for n in range(1, 9):
        make("ports", switch="e2e-sw", name=f"Ethernet{n}", role="member", speed_mbps=10000, state="free")
    return api


def apply(console, asn, short):
    """Fills in the form's pages and sends it; the case's id."""
    console.go("/apply/ix-join")
    good(console, "the form's introduction")
    console.send("#content form[action='/apply/ix-join']")
    case = re.search(r"/cases/([0-9a-f-]{36})/", console.path())[1]
    step = "#content form[action*='/edit/']"
    pages = [
        {"name": f"Network {short}", "short_name": short, "asn": str(asn)},
        {"as_set": f"AS-{short}", "max_prefix_v4": "1000", "max_prefix_v6": "500", "peering_policy": "open"},
        {"router1_name": "b1", "router1_site": "e2e-lab", "router1_speed": "10G", "router1_links": "2"},
        {"router2_name": "b2", "router2_site": "e2e-lab", "router2_speed": "10G", "router2_links": "1"},
        {"families": "both", "bfd": True, "md5": True},
        {"noc_email": "noc@net.example", "noc_phone": "02-1234-5678", "technical_name": "李大華",
         "technical_email": "tech@net.example", "security_name": "陳小美", "security_email": "sec@net.example",
         "accept_rules": True, "agree": True},
    ]
    for number, page in enumerate(pages, 1):
        for name, value in page.items():
            field = console.one(f"#content [name='{name}']")
            if value is True:
                console.driver.execute_script("arguments[0].click()", field)
            elif field.tag_name == "select":
                Select(field).select_by_value(value)
            else:
                console.fill(name, value)
        accessible(console.driver, f"page {number} of the form")
        console.send(step)
    console.go(f"/cases/{case}/do/submit")
    console.send(f"#content form[action='/cases/{case}/do/submit']")
    return case


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_network_joins_and_protects_itself(country, places, language):
    asn, short = ASN[language], f"E2E{zlib.crc32(language.encode()) % 1000}"
    with window(country, OWNER[language], language) as owner:
        owner.go("/peering")
        good(owner, "no network yet")
        case = apply(owner, asn, short)
        owner.go(f"/cases/{case}")
        assert f"Network {short}" in owner.text()
        owner.go("/peering/protection/new")
        good(owner, "no member yet, no protection")

    with window(country, "officer-1", language) as officer:
        for action in ("start-review", "approve"):
            act(officer, case, action)
        officer.go(f"/cases/{case}")
        assert not officer.all(f"#content a[href='/cases/{case}/do/grant']"), "four eyes"
    with window(country, "officer-2", language) as second:
        act(second, case, "grant")
    places.call("PUT", f"/exchange-registered-space/{asn}", 200, json={"prefixes": [SPACE[language]]})

    with window(country, OWNER[language], language) as owner:
        owner.go("/peering")
        assert owner.path() == f"/peering/{asn}", "the only network of one's own"
        text = owner.text()
        for part in ("b1", "b2", "203.0.113.", "2001:db8:e2e::", "e2e-sw", "李大華", "tech@net.example", f"Network {short}"):
            assert part in text, part
        assert len(owner.all("#content a[href='/cases/" + case + "']")) == 1, "its request"
        # The picture: one's own with its pages, of others what is public.
        picture = "#peering-picture svg"
        assert owner.one(f"{picture} a[href='/peering/{asn}']") and owner.all(f"{picture} a[href='/glass/e2e-lab']")
        drawn = owner.one("#peering-picture").get_attribute("innerHTML")
        assert "Ethernet" in drawn and "AS1659" in drawn, "one's own ports, and that others are there"
        assert 'href="/exchange' not in drawn and 'href="/peering/1659' not in drawn, "nothing of the house or of others"
        good(owner, "my network")
        owner.go(f"/peering/{asn}/configuration")
        eos = owner.text()
        assert "203.0.113.1" in eos and "channel-group 1 mode active" in eos and "remote-as 64" in eos
        assert not re.search(r"password 0 [0-9a-f]{32}", eos), "a secret is shown when it is asked for"
        owner.press(f"#content a[href='/peering/{asn}/configuration?vendor=eos&secrets=shown']")
        secret = re.search(r"password 0 ([0-9a-f]{32})", owner.text())[1]
        good(owner, "router configuration")
        for vendor, line in (("junos", 'authentication-key "{}"'), ("frr", "password {}"), ("bird", 'password "{}";')):
            owner.go(f"/peering/{asn}/configuration?vendor={vendor}&secrets=shown")
            assert line.format(secret) in owner.text(), vendor
        assert "local role rs_client;" in owner.text()

        # Somebody else's address is refused with the reason, and nothing is announced before the effect is shown.
        owner.go(f"/peering/protection/new?asn={asn}")
        good(owner, "asking for protection")
        owner.fill("destination", "8.8.8.8")
        owner.fill("reason", "DNS amplification")
        owner.send("#content form[action='/peering/protection/preview']")
        assert "8.8.8.8" in owner.text() and owner.path() == "/peering/protection/preview"
        accessible(owner.driver, "a refused request")
        owner.fill("destination", HOST[language])
        owner.send("#content form[action='/peering/protection/preview']")
        assert f"route {HOST[language]}/32 blackhole" in owner.text()
        good(owner, "the effect")
        owner.send("#content form[action='/peering/protection']")
        rule = re.search(r"/peering/protection/([0-9a-f-]{36})$", owner.path())[1]
        good(owner, "a rule")
        owner.go("/peering/protection")
        assert HOST[language] in owner.text()
        good(owner, "rules")

    document = places.call("GET", "/exchange/document", 200).json()
    assert rule in str(document), "route servers are configured with it"

    with window(country, OTHER[language], language) as other:
        for path in (f"/peering/{asn}", f"/peering/protection/{rule}"):
            other.go(path)
            assert short not in other.text() and HOST[language] not in other.text(), "another's does not exist"
        other.go("/peering/protection")
        assert HOST[language] not in other.text()

    with window(country, "officer-1", language) as officer:
        officer.go("/peering")
        assert f"AS{asn}" in officer.text()
        good(officer, "all networks")
        officer.go(f"/peering/{asn}")
        assert "tech@net.example" not in officer.text(), "personal data are not opened for every reader"
        officer.go(f"/peering/{asn}/configuration?secrets=shown")
        assert secret not in officer.text()
        officer.go("/peering/manrs")
        good(officer, "MANRS")
        officer.go("/peering/rules/rules")
        good(officer, "the rules")

    with window(country, OWNER[language], language, PHONE) as owner:
        owner.go(f"/peering/{asn}")
        fits(owner.driver, "my network on a phone")
        owner.go(f"/peering/protection/{rule}")
        fits(owner.driver, "a rule on a phone")
        owner.send(f"#content form[action='/peering/protection/{rule}/lift']")
        assert owner.all(f"#content form[action='/peering/protection/{rule}/restore']"), "it can be put back"
        good(owner, "an undone rule on a phone")
    document = places.call("GET", "/exchange/document", 200).json()
    assert rule not in str(document)


def test_the_rules_are_public(country):
    import requests
    for language, words in (("zh-TW", "交換中心規則"), ("en", "Rules of the exchange")):
        page = requests.get(country.at("console") + "/peering/rules", headers={"accept-language": language}, timeout=10)
        assert page.status_code == 200 and words in page.text
    with chromium("en") as driver:
        driver.get(country.at("console") + "/peering/rules/rules")
        accessible(driver, "the rules for a visitor")


def test_the_api_shows_manrs_and_refuses_what_is_not_ones_own(country, places):
    manrs = places.call("GET", "/exchange-manrs", 200).json()
    assert [action["number"] for action in manrs["actions"]] == [1, 2, 3, 4, 5]
    assert manrs["facts"]["sites_active"] >= 1 and manrs["facts"]["rules_published"] is True
    # An operator belongs to no member: there is nothing of one's own to protect.
    places.call("POST", "/exchange-protection", 403, json={
        "asn": 64601, "destination": "198.51.100.9/32", "hours": 1, "reason": "no"})
