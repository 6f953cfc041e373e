"""Alerts as CSAF 2.0 documents, held against the schema that OASIS published."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from api import Api, csrf_of, sign_in

SCHEMA = json.loads((Path(__file__).parent / "fixtures/csaf_2.0.schema.json").read_text())
BASE = {"kind": "ana", "subkind_ana": "vulnerability", "tlp": "amber", "severity": "high", "summary": "SCADA Historian 的漏洞正遭利用。", "advice": "立即更新並查看登入紀錄。",
        "sector_all": True, "reply": "none"}
# Profiles 4, 3 and 1 (CSAF 2.0 section 4).
KINDS = {
    "csaf_security_advisory": {"products": ["Historian 9", "Historian 10"], "cves": ["CVE-2026-12345", "CVE-2026-12346"],
                               "references": ["https://vendor.example/1"]},
    "csaf_informational_advisory": {"references": ["https://vendor.example/1"]},
    "csaf_base": {},
}


def check(document):
    validator = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
    wrong = sorted(validator.iter_errors(document), key=str)
    assert not wrong, [(list(one.absolute_path), one.message) for one in wrong[:5]]


@pytest.fixture(scope="module")
def member(country):
    """An organisation that is a member: an alert that would reach nobody is refused."""
    desk, console = sign_in(country, "officer-1"), country.at("console")
    org = re.search(r'href="(/members/[0-9a-f-]{36})"', desk.get(console + "/members", timeout=10).text)[1]
    page = desk.get(console + org, timeout=10).text
    answer = desk.post(console + org, timeout=10, allow_redirects=False,
                       data={"csrf": csrf_of(page), "sector": "water", "assets": "SCADA Historian"})
    assert answer.status_code == 303, answer.text[:2000]
    return org


@pytest.mark.parametrize("category", KINDS)
def test_alerts_keep_the_published_schema(country, member, category):
    author, publisher = Api(country, "officer-1"), Api(country, "officer-2")
    values = {**BASE, "subject": f"警訊 {category}", "public": False, **KINDS[category]}
    case = author.call("POST", "/cases", 201, json={"form": "alert", "values": values}).json()

    def step(who, action):
        version = who.get(f"/cases/{case['id']}")["case"]["version"]
        step = {"version": version, "action": action, "comment": "checked"}
        who.call("POST", f"/cases/{case['id']}/steps", 200, json=step)
    step(author, "submit")
    step(publisher, "publish")
    document = author.get(f"/alerts/{case['id']}/csaf")
    assert document["document"]["category"] == category
    check(document)
    step(publisher, "retract")
    document = author.get(f"/alerts/{case['id']}/csaf")
    assert document["document"]["tracking"]["version"] == "2"
    check(document)


def test_the_schema_refuses_what_is_no_document():
    with pytest.raises(AssertionError):
        check({"document": {"category": "csaf_base"}})
