"""The control plane is killed again and again while members report, officers publish and members reply: whatever was answered
is there afterwards, once, with its clocks, its replies and its entries in the audit trail."""

import random
import threading
import time
import uuid
from datetime import datetime, timedelta, timezone

import requests
from api import Api, csrf_of, sign_in
from country import wait_for

KILLS = 4
# Between the return of the control plane and its next end: time for some work, and for ends in the middle of it.
BETWEEN = (0.8, 2.5)


class Steady(Api):
    """Asks again while nobody answers, as a careful program does: with the same key, so that nothing happens twice."""

    def until(self, method, path, give_up, **how):
        while True:
            try:
                answer = self.session.request(method, self.base + path, timeout=5, **how)
                if answer.status_code not in (429, 500, 503):
                    return answer
            except requests.RequestException:
                pass
            if give_up():
                return None
            time.sleep(0.05)


def step(officer, case, action, done, give_up):
    """Takes a case a step on; whether it stands where that step leads. A step whose answer was lost may have been taken."""
    while True:
        seen = officer.until("GET", f"/cases/{case}", give_up)
        if seen is None:
            return False
        seen = seen.json()["case"]
        if seen["state"] == done:
            return True
        answer = officer.until("POST", f"/cases/{case}/steps", give_up,
                               json={"version": seen["version"], "action": action, "comment": "已查證"})
        if answer is None:
            return False
        # 409: the same step, sent again, found it taken.
        assert answer.status_code in (200, 409), f"{action}: {answer.status_code} {answer.text[:300]}"


def make_member(country, name):
    session, console = sign_in(country, "officer-1"), country.at("console")
    page = session.get(console + "/members", timeout=10).text
    row = next(row for row in page.split("<tr") if name in row)
    path = "/members/" + row.split('href="/members/')[1].split('"')[0]
    form = session.get(console + path, timeout=10)
    answer = session.post(console + path, timeout=10, allow_redirects=False,
                          data={"csrf": csrf_of(form.text), "sector": "water", "assets": "SCADA", "name_consent": ""})
    assert answer.status_code == 303, f"{path}: {answer.status_code}\n{answer.text[:1000]}"


def report(number):
    known = datetime.now(timezone.utc) - timedelta(minutes=5)
    return {"subject": f"連續回報 {number}", "category": "malware", "known_at": known.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "description": "監控伺服器的檔案遭加密,已改為人工操作。", "confidentiality": "0", "integrity": "3", "availability": "1",
            "contact_name": "李大華", "contact_phone": "02-1234-5678"}


def alert(number):
    return {"subject": f"連續警訊 {number}", "kind": "ana", "subkind_ana": "threat", "tlp": "amber", "severity": "high", "summary": "摘要文字摘要文字摘要",
            "advice": "立即更新並查看登入紀錄。", "reply": "acknowledge", "sector_water": True}


def test_reports_alerts_and_replies_survive_a_control_plane_that_keeps_dying(fragile):
    country = fragile
    make_member(country, "北區自來水事業")
    water, first, second = (Steady(country, who) for who in ("water-owner", "officer-1", "officer-2"))
    org = next(o["id"] for o in water.get("/orgs")["items"])
    stop, faults = threading.Event(), []
    reported, published, replied = {}, set(), {}

    def work(what):
        def run():
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    what(number)
                except Exception as fault:  # noqa: BLE001 - told by the test's own thread
                    faults.append(fault)
                    return
        return threading.Thread(target=run)

    def reports(number):
        key = str(uuid.uuid4())
        answer = water.until("POST", "/incidents", stop.is_set, headers={"idempotency-key": key},
                             json={"org": org, "drill": False, "values": report(number)})
        if answer is None:
            return
        assert answer.status_code == 201, f"{answer.status_code} {answer.text[:500]}"
        reported[answer.json()["case"]] = f"連續回報 {number}"

    def alerts(number):
        key = str(uuid.uuid4())
        answer = first.until("POST", "/cases", stop.is_set, headers={"idempotency-key": key}, json={"form": "alert", "values": alert(number)})
        if answer is None:
            return
        assert answer.status_code == 201, f"{answer.status_code} {answer.text[:500]}"
        case = answer.json()["id"]
        if not step(first, case, "submit", "submitted", stop.is_set) or not step(second, case, "publish", "published", stop.is_set):
            return
        published.add(case)
        answer = water.until("PUT", f"/alerts/{case}/reply", stop.is_set,
                             json={"org": org, "reply": "acknowledged", "remark": f"收到 {number}"})
        if answer is None:
            return
        assert answer.status_code == 204, f"{answer.status_code} {answer.text[:500]}"
        replied[case] = f"收到 {number}"

    workers = [work(reports), work(alerts)]
    for worker in workers:
        worker.start()
    before = set(), set()
    try:
        for _ in range(KILLS):
            # Not before something new was answered since the last end.
            wait_for(lambda: faults or (set(reported) - before[0] and set(replied) - before[1]), 60, "work to go on")
            before = set(reported), set(replied)
            time.sleep(random.uniform(*BETWEEN))
            country.kill_node("control")
            wait_for(lambda: requests.get(country.at("console") + "/login", timeout=2).status_code == 200, 60, "the console again")
        wait_for(lambda: faults or (set(reported) - before[0] and set(replied) - before[1]), 60, "work to go on")
    finally:
        stop.set()
        for worker in workers:
            worker.join(60)
    assert not faults, faults[0]
    print(f"{len(reported)} reports, {len(published)} alerts, {len(replied)} replies through {KILLS} deaths")

    subjects = [one["subject"] for one in listed(first, "/incidents")]
    for case, subject in reported.items():
        assert subjects.count(subject) == 1, f"{subject} is there {subjects.count(subject)} times"
        whole = first.get(f"/incidents/{case}")
        kinds = [clock["kind"] for clock in whole["clocks"]]
        assert "report" in kinds and "review" in kinds, f"{subject}: clocks {kinds}"
    for case in published:
        assert first.get(f"/alerts/{case}")["recipients"] >= 1
    for case, remark in replied.items():
        answers = [one for one in first.get(f"/alerts/{case}/recipients")["items"] if one["org"] == org]
        assert [one["remark"] for one in answers] == [remark], answers
    trail = country.cli("audit", "verify", "--config", str(country.dir / "control.toml"))
    assert trail.returncode == 0, trail.stdout + trail.stderr


def listed(api, path):
    """All of a list, page by page."""
    items, cursor = [], None
    while True:
        page = api.get(path + "?limit=100" + (f"&cursor={cursor}" if cursor else ""))
        items += page["items"]
        cursor = page.get("next")
        if not cursor:
            return items
