//! Incidents from report to improvement, and everything that must not happen.

use std::time::Duration;

use isac::CertError;
use isac::report::incidents::Filter;
use isac::report::rules::Clock;
use isac::report::{DRILL, FORM, Level};
use serde_json::json;
use store::PageRequest;
use web::OrgScope;

use crate::house::{by, on_both, report};

const HOUR: Duration = Duration::from_secs(3_600);

fn level(number: i64) -> Level {
    Level::new(number).expect("1 to 4")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_runs_its_course_with_every_clock_kept() {
    on_both(async |house| {
        let case = house.reported(FORM, report(3)).await;
        assert_eq!(
            case.result.clone().expect("a page").path,
            format!("/incidents/{}", case.id)
        );
        let incident = house.incident(case.id).await;
        assert_eq!((incident.level, incident.rules), (level(3), 2));
        let clocks = house.cert.clocks(case.id).await.expect("clocks");
        let kinds: Vec<Clock> = clocks.iter().map(|clock| clock.kind).collect();
        assert_eq!(kinds, [Clock::Report, Clock::Review, Clock::Recovery]);
        assert!(clocks[0].met_at.is_some() && !clocks[0].late(house.cert.db().clock().now()));
        // Major incidents are reviewed within two hours, recovered within 36 of learning.
        assert_eq!(clocks[1].due_at, incident.reported_at.plus(2 * HOUR));
        assert_eq!(clocks[2].due_at, incident.known_at.plus(36 * HOUR));

        let officer = &house.officers[0];
        house.clock.advance(HOUR);
        house
            .act(officer, case.id, "accept")
            .await
            .expect("reviewed");
        house
            .cert
            .forward(
                &by(officer),
                &house.incident(case.id).await,
                "N-CERT 2026-1",
            )
            .await
            .expect("forwarded");
        house.clock.advance(20 * HOUR);
        house
            .act(&house.plumber, case.id, "recover")
            .await
            .expect("recovered");
        house.clock.advance(20 * 24 * HOUR);
        // A word is no report.
        let short = house.act(&house.plumber, case.id, "improve").await;
        let Err(casework::CaseError::Invalid(problems)) = short else {
            panic!("four characters: {short:?}");
        };
        assert_eq!(
            (problems[0].field.as_str(), problems[0].rule),
            ("comment", "min-length")
        );
        let report = "原因為弱密碼遭猜中,已全面更換密碼並啟用雙因子驗證。";
        let plumber = &house.plumber;
        let opened = house.casework.open(plumber, case.id).await.expect("seen");
        let version = opened.case.version;
        let improved = house
            .casework
            .act(plumber, case.id, version, "improve", report)
            .await;
        improved.expect("improved");
        house.act(officer, case.id, "close").await.expect("closed");
        let incident = house.incident(case.id).await;
        assert_eq!(
            (incident.state.as_str(), incident.next_due),
            ("closed", None)
        );
        let clocks = house.cert.clocks(case.id).await.expect("clocks");
        assert_eq!(clocks.len(), 5);
        assert!(
            clocks
                .iter()
                .all(|clock| clock.met_at.is_some_and(|at| at <= clock.due_at))
        );
        let log = house.cert.evidence(case.id).await.expect("a log");
        let kinds: Vec<&str> = log.iter().map(|entry| entry.kind.as_str()).collect();
        assert_eq!(
            kinds,
            ["submit", "accept", "forward", "recover", "improve", "close"]
        );
        let found = house
            .cert
            .incident_statistics(
                &OrgScope::All,
                incident.reported_at,
                incident.reported_at.plus(HOUR),
            )
            .await
            .expect("figures");
        assert_eq!((found.levels, found.open), ([0, 0, 1, 0], 0));
        assert!(
            found
                .clocks
                .iter()
                .all(|kept| (kept.kept, kept.late) == (1, 0))
        );
        store::audit::verify(&house.db, None)
            .await
            .expect("the chain holds");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_changes_only_before_four_eyes_and_takes_the_clocks_with_it() {
    on_both(async |house| {
        let case = house.reported(FORM, report(2)).await;
        let [a, b, _] = &house.officers;
        let incident = house.incident(case.id).await;
        let change = house
            .cert
            .propose_level(&by(a), &incident, level(4), "關鍵基礎設施停擺")
            .await
            .expect("proposed");
        let twice = house
            .cert
            .propose_level(&by(b), &incident, level(3), "也許")
            .await;
        assert!(
            matches!(twice, Err(CertError::Refused(_))),
            "one waits already"
        );
        // The review cannot be completed over an open question, nor decided by the same person.
        assert!(house.act(b, case.id, "accept").await.is_err());
        let same = house
            .cert
            .decide_level(&by(a), &incident, &change, true, "")
            .await;
        assert!(matches!(same, Err(CertError::Refused(_))), "four eyes");
        let reporter = by(&house.plumber);
        assert!(
            house
                .cert
                .decide_level(&reporter, &incident, &change, true, "")
                .await
                .is_err()
        );
        assert_eq!(house.incident(case.id).await.level, level(2));
        house
            .cert
            .decide_level(&by(b), &incident, &change, true, "")
            .await
            .expect("agreed");
        let after = house.incident(case.id).await;
        assert_eq!((after.level, after.reported_level), (level(4), level(2)));
        let clocks = house.cert.clocks(case.id).await.expect("clocks");
        assert_eq!(clocks[1].due_at, after.reported_at.plus(2 * HOUR));
        assert_eq!(clocks[2].due_at, after.known_at.plus(36 * HOUR));
        let again = house
            .cert
            .decide_level(&by(b), &incident, &change, false, "不")
            .await;
        assert!(again.is_err(), "decided once");
        house.act(b, case.id, "accept").await.expect("reviewed");
        // After the review, a change of level starts the forwarding again.
        house
            .cert
            .forward(&by(a), &house.incident(case.id).await, "N-CERT 1")
            .await
            .expect("forwarded");
        let incident = house.incident(case.id).await;
        let change = house
            .cert
            .propose_level(&reporter, &incident, level(3), "已隔離")
            .await
            .expect("by the reporter");
        let silent = house
            .cert
            .decide_level(&by(a), &incident, &change, false, " ")
            .await;
        assert!(
            matches!(silent, Err(CertError::Invalid(_))),
            "a refusal says why"
        );
        house
            .cert
            .decide_level(&by(a), &incident, &change, true, "同意")
            .await
            .expect("agreed");
        let clocks = house.cert.clocks(case.id).await.expect("clocks");
        assert!(
            clocks
                .iter()
                .any(|clock| clock.kind == Clock::Forward && clock.met_at.is_none())
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_remind_once_and_escalate_once() {
    on_both(async |house| {
        let case = house.reported(FORM, report(3)).await;
        let now = || house.cert.db().clock().now();
        assert_eq!(house.cert.look_at_clocks(now()).await.expect("a look"), 0);
        house.clock.advance(HOUR * 3 / 2);
        assert_eq!(house.cert.look_at_clocks(now()).await.expect("a look"), 1);
        assert_eq!(house.cert.look_at_clocks(now()).await.expect("a look"), 0);
        let letters = house.letters(&house.officers[2]).await;
        assert!(
            letters[0].contains("the review of the level is due soon"),
            "{letters:?}"
        );
        house.clock.advance(HOUR);
        assert_eq!(house.cert.look_at_clocks(now()).await.expect("a look"), 1);
        assert_eq!(house.cert.look_at_clocks(now()).await.expect("a look"), 0);
        for who in [&house.officers[2], &house.plumber] {
            let letters = house.letters(who).await;
            assert!(
                letters[0].contains("past its statutory deadline"),
                "{letters:?}"
            );
        }
        assert!(
            house.letters(&house.electrician).await.is_empty(),
            "another's business"
        );
        let (open, late) = house
            .cert
            .open_incidents(&OrgScope::All)
            .await
            .expect("a count");
        assert_eq!((open, late), (1, 1));
        house
            .act(&house.officers[0], case.id, "dismiss")
            .await
            .expect("dismissed");
        house.clock.advance(100 * HOUR);
        assert_eq!(house.cert.look_at_clocks(now()).await.expect("a look"), 0);
        let clocks = house.cert.clocks(case.id).await.expect("clocks");
        assert!(clocks[1].late(now()), "reviewed, but late");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_looks_the_same_and_never_leaves_the_house() {
    on_both(async |house| {
        let real = house.reported(FORM, report(2)).await;
        let mails = house.count("casework_delivery").await;
        assert!(mails > 0, "a real report is told by mail");
        let drill = house.reported(DRILL, report(4)).await;
        let incident = house.incident(drill.id).await;
        assert!(incident.drill && incident.level == level(4));
        assert_eq!(house.cert.clocks(drill.id).await.expect("clocks").len(), 3);
        let officer = &house.officers[0];
        house
            .act(officer, drill.id, "accept")
            .await
            .expect("reviewed");
        // Forwarding is practised too: it is recorded here and meets the clock.
        house
            .cert
            .forward(&by(officer), &incident, "N-CERT")
            .await
            .expect("recorded");
        let clocks = house.cert.clocks(drill.id).await.expect("clocks");
        let forward = clocks.iter().find(|clock| clock.kind == Clock::Forward);
        assert!(forward.is_some_and(|clock| clock.met_at.is_some() && !clock.late(clock.due_at)));
        house.clock.advance(60 * HOUR);
        house
            .cert
            .look_at_clocks(house.cert.db().clock().now())
            .await
            .expect("a look");
        // The letters of the drill stand in the inboxes; mail is about the real one only.
        let letters = house.letters(&house.plumber).await;
        assert!(
            letters
                .iter()
                .any(|text| text.contains(&format!("#{}", drill.number)))
        );
        let (drilled,): (i64,) =
            sqlx::query_as("SELECT count(*) FROM casework_delivery WHERE case_id = $1")
                .bind(drill.id.to_string())
                .fetch_one(house.db.pool())
                .await
                .expect("a count");
        assert_eq!(drilled, 0);
        let list = |drill| Filter {
            drill,
            ..Filter::default()
        };
        let page = PageRequest::first(10);
        let drills = house
            .cert
            .incidents(&OrgScope::All, &list(true), &page)
            .await
            .expect("a page");
        assert_eq!(
            drills.items.iter().map(|i| i.case).collect::<Vec<_>>(),
            [drill.id]
        );
        let reals = house
            .cert
            .incidents(&OrgScope::All, &list(false), &page)
            .await
            .expect("a page");
        assert_eq!(
            reals.items.iter().map(|i| i.case).collect::<Vec<_>>(),
            [real.id]
        );
        let (open, _) = house
            .cert
            .open_incidents(&OrgScope::All)
            .await
            .expect("a count");
        assert_eq!(open, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_that_break_a_rule_are_refused_and_change_nothing() {
    on_both(async |house| {
        let mut harmless = report(3);
        harmless.insert("integrity".into(), json!("0"));
        harmless.insert("availability".into(), json!("0"));
        let mut early = report(3);
        early.insert("known_at".into(), json!("2026-11-21T09:01:00+08:00"));
        let mut mistyped = report(3);
        mistyped.insert("known_at".into(), json!("1926-11-21T08:40:00+08:00"));
        let mut backwards = report(3);
        backwards.insert("happened_at".into(), json!("2026-11-21T08:41:00+08:00"));
        for (values, expected) in [
            (harmless, "at least one of"),
            (early, "in the future"),
            (mistyped, "before the year 2000"),
            (backwards, "must not have happened after"),
        ] {
            let draft = house
                .casework
                .start(&house.plumber, FORM, Some(house.water), values, None)
                .await
                .expect("a draft");
            let refused = house
                .act(&house.plumber, draft.id, "submit")
                .await
                .expect_err(expected);
            assert!(refused.to_string().contains(expected), "{refused}");
        }
        assert_eq!(house.count("isac_incident").await, 0);
        assert_eq!(house.count("isac_log").await, 0);
    })
    .await;
}

/// By API a report is begun and submitted at once: refused, it leaves no case, no letter and
/// no mail; moments are read as machines write them.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_by_api_is_whole_or_was_never_there() {
    on_both(async |house| {
        let before = (
            house.count("casework_case").await,
            house.count("casework_letter").await,
            house.count("casework_delivery").await,
        );
        let mut early = report(3);
        early.insert("known_at".into(), json!("2026-11-21T09:01:00+08:00"));
        let mut short = report(3);
        short.remove("category");
        for key in [None, Some("k-1")] {
            for values in [&early, &short] {
                let refused = house
                    .casework
                    .start_submitted(&house.plumber, FORM, Some(house.water), values.clone(), key)
                    .await;
                assert!(refused.is_err());
            }
        }
        let after = (
            house.count("casework_case").await,
            house.count("casework_letter").await,
            house.count("casework_delivery").await,
        );
        assert_eq!(before, after, "as if nothing had been said");
        // The key is still good for the corrected report; the local time is Taipei's.
        for (key, known) in [
            ("k-1", "2026-11-21T00:40:00.000Z"),
            ("k-2", "2026-11-21T08:40"),
            ("k-3", "2026-11-21T08:40:00+08:00"),
            ("k-4", "2026-11-20T19:40:00.5-05:00"),
        ] {
            let mut values = report(3);
            values.insert("known_at".into(), json!(known));
            let case = house
                .casework
                .start_submitted(
                    &house.plumber,
                    FORM,
                    Some(house.water),
                    values.clone(),
                    Some(key),
                )
                .await
                .expect(known);
            let at = house.incident(case.id).await.known_at.micros() / 1_000_000;
            assert_eq!(at, 1_795_221_600, "{known}");
            let again = house
                .casework
                .start_submitted(
                    &house.plumber,
                    FORM,
                    Some(house.water),
                    values.clone(),
                    Some(key),
                )
                .await
                .expect("the same");
            assert_eq!(again.id, case.id);
            values.insert("category".into(), json!("leak"));
            let other = house
                .casework
                .start_submitted(&house.plumber, FORM, Some(house.water), values, Some(key))
                .await;
            assert!(
                matches!(other, Err(casework::CaseError::KeyReused)),
                "{other:?}"
            );
        }
        assert_eq!(house.count("isac_incident").await, 4);
        // Officers hear what became of a report.
        let case = house.reported(FORM, report(2)).await;
        house
            .act(&house.officers[0], case.id, "accept")
            .await
            .expect("reviewed");
        let letters = house.letters(&house.plumber).await;
        assert!(letters[0].ends_with("was reviewed"), "{letters:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_learns_nothing_of_another() {
    on_both(async |house| {
        let case = house.reported(FORM, report(3)).await;
        let others = OrgScope::Only(vec![house.power]);
        let hidden = house.cert.incident(&others, case.id).await;
        assert!(matches!(hidden, Err(CertError::NotFound { .. })));
        // The same words as for an incident that does not exist.
        let missing = base::CaseId::generate();
        let nothing = house
            .cert
            .incident(&others, missing)
            .await
            .expect_err("nothing");
        let text = hidden.expect_err("hidden").to_string();
        assert_eq!(
            text.replace(&case.id.to_string(), ""),
            nothing.to_string().replace(&missing.to_string(), "")
        );
        let page = PageRequest::first(10);
        let list = house
            .cert
            .incidents(&others, &Filter::default(), &page)
            .await
            .expect("a page");
        assert!(list.items.is_empty() && list.next.is_none());
        assert_eq!(
            house.cert.open_incidents(&others).await.expect("a count"),
            (0, 0)
        );
        let from = base::Timestamp(0);
        let until = house.cert.db().clock().now().plus(HOUR);
        let figures = house
            .cert
            .incident_statistics(&others, from, until)
            .await
            .expect("figures");
        assert_eq!(figures.levels, [0; 4]);
        assert!(
            figures.sectors.is_empty()
                && figures.clocks.is_empty()
                && figures.categories.is_empty()
        );
        assert!(
            house
                .casework
                .open(&house.electrician, case.id)
                .await
                .is_err()
        );
        assert!(house.letters(&house.electrician).await.is_empty());
    })
    .await;
}
