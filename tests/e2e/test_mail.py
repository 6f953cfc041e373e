"""Notifications by mail, taken by a mail server that the house did not write."""

import re
import time
from email.utils import parsedate_to_datetime

import pytest
import requests
from api import Api, csrf_of, sign_in
from country import Country, wait_for
from mailserver import MailServer

# The first pause after a failed delivery is 30 s, and the house looks each 5 s.
RETRY_S = 90


@pytest.fixture(scope="module")
def mailed(tmp_path_factory):
    server = MailServer().start()
    country = Country(tmp_path_factory.mktemp("mail") / "var", env=server.settings()).start()
    country.mail = server
    yield country
    country.stop()
    server.stop()


def speak(country, who, language):
    """Sets the language that `who` is written to in."""
    session = sign_in(country, who)
    page = session.get(country.at("console") + "/account", timeout=10).text
    name = re.search(r'name="name"[^>]*value="([^"]*)"', page) or re.search(r'value="([^"]*)"[^>]*name="name"', page)
    answer = session.post(country.at("console") + "/account/profile", timeout=10, allow_redirects=False,
                          data={"csrf": csrf_of(page), "name": name[1] if name else who, "lang": language})
    assert answer.status_code == 303, answer.text[:500]


def submitted(country, name):
    """A case of the museum that waits for review, by the API: (owner, case)."""
    owner = Api(country, "museum-owner")
    org = owner.get("/orgs")["items"][0]["id"]
    host = "www.museum.gov.test"
    claim = owner.call("POST", "/claims", 201, json={"org": org, "host": host}).json()
    file = country.dir / "origins/museum/.well-known" / claim["file"].split("/.well-known/")[1]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(claim["token"])
    checked = owner.call("POST", "/claims/check", 200, json={"org": org, "host": host}, timeout=60).json()
    assert checked["proven_at"], checked
    case = owner.call("POST", "/cases", 201, json={"form": "cdn-site", "org": org, "values": {
        "name_zh": name, "name_en": "Local museum", "purpose": "Exhibitions and opening hours.", "hosts": [host],
        "origins": [country.at("origin_2")], "traffic": "small", "contact_name": "陳小姐", "contact_email": "owner@museum.gov.test",
        "agree": True}}).json()
    step(owner, case["id"], "submit")
    return owner, case["id"]


def step(api, case, action):
    version = api.get(f"/cases/{case}")["case"]["version"]
    api.call("POST", f"/cases/{case}/steps", 200, json={"version": version, "action": action, "comment": "OK"})


def about(country, person, *words):
    """Mails to `person` whose subject has all the words."""
    return [found for found in country.mail.to(country.logins()[person]["email"]) if all(word in found[2]["subject"] for word in words)]


def test_a_notification_arrives_as_good_mail_in_the_readers_language(mailed):
    speak(mailed, "officer-2", "en")
    name = "地方博物館全球資訊網"
    owner, case = submitted(mailed, name)

    sender, raw, chinese = wait_for(lambda: about(mailed, "officer-1", name), 30, "the officer's mail", every=0.2)[0]
    assert "等待審查" in chinese["subject"]
    head = raw.split(b"\r\n\r\n")[0]
    assert all(byte < 128 for byte in head), "header fields are ASCII (RFC 5322): encoded words (RFC 2047) for the rest"
    assert re.search(rb"(?im)^subject: =\?utf-8\?[bq]\?", head), head
    assert all(len(line) <= 998 for line in raw.split(b"\r\n")), "lines have at most 998 octets (RFC 5322 section 2.1.1)"
    assert sender == "no-reply@civicnet.test" and chinese["from"].addresses[0].display_name == "civicnet 通知"
    assert chinese["to"].addresses[0].addr_spec == mailed.logins()["officer-1"]["email"]
    assert re.fullmatch(r"<[^@\s]+@[^@\s]+>", chinese["message-id"])
    assert abs(parsedate_to_datetime(chinese["date"]).timestamp() - time.time()) < 120
    assert chinese.get_content_type() == "text/plain" and chinese["mime-version"] == "1.0"
    assert f"{mailed.at('console')}/cases/{case}" in chinese.get_content()

    _, raw, english = wait_for(lambda: about(mailed, "officer-2", "waits for review"), 30, "the English mail", every=0.2)[0]
    assert name in english["subject"] and "Open the case" in english.get_content()

    # A mail server that refuses has not taken it: it is tried again. So is one that is not there, and the promise
    # outlives the control plane.
    mailed.mail.refuse = "451 4.3.0 try again later"
    step(Api(mailed, "officer-1"), case, "start-review")
    operator = sign_in(mailed, "operator")
    deliveries = mailed.at("console") + "/deliveries"
    wait_for(lambda: "451" in operator.get(deliveries, timeout=10).text or "try again later" in operator.get(deliveries, timeout=10).text,
             30, "the refusal on the operators' page", every=0.5)
    assert not about(mailed, "museum-owner", name)
    mailed.mail.stop()
    mailed.mail.refuse = None
    mailed.kill_node("control")
    wait_for(lambda: requests.get(mailed.at("console") + "/login", timeout=2).ok, 30, "the control plane's return")
    mailed.mail.start()
    wait_for(lambda: about(mailed, "museum-owner", name, "已開始審查"), RETRY_S, "the mail after the server's return", every=0.5)
    wait_for(lambda: "try again later" not in operator.get(deliveries, timeout=10).text, 30, "an empty queue", every=0.5)
    assert len(about(mailed, "museum-owner", name, "已開始審查")) == 1, "once, not twice"
    assert len(about(mailed, "officer-1", name, "等待審查")) == 1
    assert owner.get(f"/cases/{case}")["case"]["state"] == "in-review"
