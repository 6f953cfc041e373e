"""The pages of sharing in a real browser: the picture of the peers, the policy tried before it is in force, consent, what is
believed and by which rules; in both languages, on a phone, accessible."""

import json

import pytest
import stix2
from browser import PHONE, accessible, chromium, fits
from console import LANGUAGES, signed_in
from country import wait_for
from test_tiers import PASSWORD, Tier

SAYS = {
    "zh-TW": {"saved": "新版政策已生效", "passes": "會送出", "decay": "規則已生效", "no": "否", "consent": "已儲存", "trust": "信任度已生效"},
    "en": {"saved": "The new version is in force", "passes": "Passes", "decay": "The rules are in force", "no": "no", "consent": "Saved", "trust": "The trust is in force"},
}
KEYS = ("sharing-", "belief-", "beliefs-", "decay-")


def peer_of(house, name):
    return next(peer for peer in house.api("GET", "/sharing/peers", 200)["items"] if peer["name"] == name)


@pytest.fixture(scope="module")
def ministry(tmp_path_factory):
    """A ministry that pushes to the nation, with a member and a pattern that two sources name and one disputes."""
    directory = tmp_path_factory.mktemp("sharing")
    nation, ministry = houses = [Tier(directory / name, name) for name in ("nation", "ministry")]
    try:
        for house in houses:
            house.start().open_doors()
        _, token = nation.organisation("數位部")
        ministry.organisation("臺灣自來水公司")
        ministry.peer(nation, token, "push", "up")
        ministry.peer(nation, token, "poll", "up")
        ministry.restart()
        authors = [stix2.Identity(name=f"來源 {number}", identity_class="organization") for number in range(3)]
        said = [stix2.Indicator(name=f"中繼站 {number}", pattern="[ipv4-addr:value = '198.51.100.77']", pattern_type="stix", confidence=60,
                                created_by_ref=authors[number].id, object_marking_refs=[stix2.TLP_GREEN]) for number in range(2)]
        opinion = stix2.Opinion(opinion="strongly-disagree", object_refs=[said[0].id], created_by_ref=authors[2].id)
        ministry.put([*authors, *said, opinion])
        wait_for(lambda: [one for one in ministry.api("GET", "/sharing/beliefs", 200)["items"] if one["disputes"] == 1 and one["sources"] == 2],
                 30, "what is believed")
        wait_for(lambda: peer_of(ministry, "nation-push")["moved"] >= 2, 30, "the first push")
        yield ministry
    finally:
        for house in houses:
            if house.process:
                house.process.stop()


def looks_right(console, what):
    accessible(console.driver, what)
    fits(console.driver, what)
    shown = console.driver.execute_script(
        "return [...document.querySelectorAll('h1,h2,label,button,th,dt,a,p,.badge,.tile-label,.notice-title')].map(e => e.textContent.trim())")
    left = [text for text in shown if text.startswith(KEYS) and " " not in text]
    assert not left, f"{what}: {left}"


def write(console, name, text):
    """Long texts are set, not typed."""
    console.driver.execute_script("document.querySelector(`#content [name='${arguments[0]}']`).value = arguments[1]", name, text)


def press(console, form, value):
    console.press(f"#content form[action='{form}'] button[value='{value}']")


@pytest.fixture
def operator(ministry, request):
    login = {"email": f"op@{ministry.name}.example", "password": PASSWORD}
    with signed_in(chromium, f"http://127.0.0.1:{ministry.console}", login, language=request.param, size=PHONE) as console:
        yield console, SAYS[request.param]


@pytest.mark.parametrize("operator", LANGUAGES, indirect=True)
def test_the_picture_of_the_peers(operator):
    console, _ = operator
    console.go("/sharing")
    picture = console.one("#content figure svg[role=img]")
    assert "nation-push" in picture.get_attribute("aria-label") and "nation-push" in console.text()
    looks_right(console, "peers")
    console.press("#content table a[href='/sharing/peers/nation-push']")
    looks_right(console, "a peer")
    console.press("#content a[href^='/sharing/preview']")
    looks_right(console, "the preview")


@pytest.mark.parametrize("operator", LANGUAGES, indirect=True)
def test_how_far_a_peer_is_believed(operator, ministry):
    console, says = operator
    assert peer_of(ministry, "nation-push")["trust"] is None, "nothing comes from there"
    ministry.api("PUT", "/sharing/peers/nation-push/trust", 422, json={"trust": 50})
    ministry.api("PUT", "/sharing/peers/nation-poll/trust", 422, json={"trust": 101})
    ministry.api("PUT", "/sharing/peers/nobody/trust", 404, json={"trust": 50})
    before = peer_of(ministry, "nation-poll")["trust"]
    console.go("/sharing/peers/nation-poll")
    assert f"{before} %" in console.text()
    looks_right(console, "a peer that is polled")
    form = "/sharing/peers/nation-poll/trust"
    console.press(f"#content a[href='{form}']")
    looks_right(console, "the trust in a peer")
    write(console, "trust", "101")
    console.driver.execute_script("document.querySelector('#content [name=trust]').form.noValidate = true")
    console.send(f"#content form[action='{form}']")
    assert console.one("#content [name=trust][aria-invalid=true]").get_attribute("value") == "101"
    looks_right(console, "a trust that is none")
    write(console, "trust", "80")
    console.send(f"#content form[action='{form}']")
    if console.all("#content [name=step][value=save]"):
        looks_right(console, "what another trust changes")
        console.send(f"#content form[action='{form}']")
    assert says["trust"] in console.text() and "80 %" in console.text()
    assert peer_of(ministry, "nation-poll")["trust"] == 80
    ministry.api("PUT", "/sharing/peers/nation-poll/trust", 204, json={"trust": 50})


@pytest.mark.parametrize("operator", LANGUAGES, indirect=True)
def test_the_policy_is_tried_before_it_is_in_force(operator, ministry):
    console, says = operator
    form = "/sharing/policy"
    console.go("/sharing/policy/edit")
    looks_right(console, "the editor")
    before = ministry.api("GET", "/sharing/policy", 200)
    write(console, "document", "{\n \"rules\": [}")
    press(console, form, "save")
    assert "line 2" in console.text() and console.one("#content [name=document][aria-invalid=true]")
    looks_right(console, "the editor with an error")
    policy = before["policy"]
    policy["rules"] = [{"name": "指標留在本中心 Indicators stay", "to": ["up"], "types": ["indicator"], "action": "withhold"}, *policy["rules"]]
    write(console, "document", json.dumps(policy, ensure_ascii=False))
    press(console, form, "try")
    assert "指標留在本中心" in console.one("#content table").text, "the reason why they stay"
    assert "198.51.100.77" in console.text() or "中繼站" in console.text()
    looks_right(console, "a policy that is tried")
    assert ministry.api("GET", "/sharing/policy", 200)["version"] == before["version"], "not in force"
    press(console, form, "save")
    assert says["saved"] in console.text()
    after = ministry.api("GET", "/sharing/policy", 200)
    assert after["version"] == before["version"] + 1 and after["policy"]["rules"][0]["name"].startswith("指標留在本中心")
    looks_right(console, "the policy")
    policy["rules"] = policy["rules"][1:]
    ministry.api("PUT", "/sharing/policy", 200, json=policy)


@pytest.mark.parametrize("operator", LANGUAGES, indirect=True)
def test_consent_is_given_and_taken_back(operator):
    console, says = operator
    console.go("/sharing/consent")
    looks_right(console, "consent")
    was = console.one("#content [name=down]").is_selected()
    console.one("#content [name=down]").click()
    console.send("#content form[action='/sharing/consent']")
    assert says["consent"] in console.text()
    assert console.one("#content [name=down]").is_selected() != was
    console.one("#content [name=down]").click()
    console.send("#content form[action='/sharing/consent']")
    assert console.one("#content [name=down]").is_selected() == was


@pytest.mark.parametrize("operator", LANGUAGES, indirect=True)
def test_what_is_believed_and_by_which_rules(operator, ministry):
    console, says = operator
    console.go("/sharing/beliefs")
    looks_right(console, "beliefs")
    link = next(a for a in console.all("#content table a") if "198.51.100.77" in a.text)
    console.follow(link.click)
    assert "198.51.100.77" in console.text()
    looks_right(console, "a belief")
    console.go("/sharing/decay")
    looks_right(console, "the rules")
    before = ministry.api("GET", "/sharing/decay", 200)
    console.press("#content a[href='/sharing/decay/edit']")
    looks_right(console, "the editor of rules")
    rules = before["rules"]
    write(console, "document", json.dumps({**rules, "published_step": 0}))
    press(console, "/sharing/decay", "save")
    assert "published_step: must be 1 to 100" in console.text()
    looks_right(console, "rules with an error")
    rules["kinds"]["ipv4-addr"]["floor"] = 90
    write(console, "document", json.dumps(rules))
    press(console, "/sharing/decay", "try")
    assert "198.51.100.77" in console.text() and says["no"] in console.one("#content table").text
    looks_right(console, "rules that are tried")
    press(console, "/sharing/decay", "save")
    assert says["decay"] in console.text()
    wait_for(lambda: not [one for one in ministry.api("GET", "/sharing/beliefs", 200)["items"] if one["stands"]], 30, "beliefs by the new rules")
    console.go(f"/sharing/decay/{before['version']}/back")
    looks_right(console, "the way back")
    console.send(f"#content form[action='/sharing/decay/{before['version']}/back']")
    after = ministry.api("GET", "/sharing/decay", 200)
    assert after["version"] == before["version"] + 2 and after["rules"]["kinds"]["ipv4-addr"]["floor"] == 10
    wait_for(lambda: [one for one in ministry.api("GET", "/sharing/beliefs", 200)["items"] if one["stands"]], 30, "beliefs by the old rules")
    looks_right(console, "the rules after the way back")
