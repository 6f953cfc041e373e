//! From draft to grant, and everything that must not happen on the way.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use casework::case::EventKind;
use casework::workflow::Refusal;
use casework::{CaseError, CaseworkConfig, Filter};
use serde_json::json;
use store::PageRequest;

use crate::house::{member, on_both, values, whole};

#[tokio::test(flavor = "multi_thread")]
async fn two_officers_grant_a_case_and_everything_is_recorded() {
    on_both(CaseworkConfig::default, async |house| {
        let case = house.submitted().await;
        assert_eq!(
            (case.state.as_str(), case.subject.as_str()),
            ("submitted", "Agency")
        );
        let [a, b, _] = &house.officers;
        house.act(a, case.id, "start-review").await.expect("review");
        house.act(a, case.id, "approve").await.expect("approved");
        let refused = house
            .act(a, case.id, "grant")
            .await
            .expect_err("one person");
        assert!(
            matches!(refused, CaseError::Refused(Refusal::FourEyes { .. })),
            "{refused}"
        );
        assert_eq!(house.things().await, 0);
        let granted = house.act(b, case.id, "grant").await.expect("granted");
        assert_eq!(granted.state, "granted");
        assert_eq!(granted.result.expect("a result").path, "/things/1");
        assert_eq!(house.things().await, 1);
        let opened = house
            .casework
            .open(&house.applicant, case.id)
            .await
            .expect("the applicant's own");
        let steps: Vec<&str> = opened
            .events
            .iter()
            .filter(|e| e.kind == EventKind::Step)
            .map(|e| e.action.as_str())
            .collect();
        assert_eq!(steps, ["submit", "start-review", "approve", "grant"]);
        // Create, submit, three officers' steps.
        assert_eq!(house.audited().await, 5);
        // The applicant heard of each officer's step, and of the own one not.
        assert_eq!(
            house
                .casework
                .unread(house.applicant.user)
                .await
                .expect("a count"),
            3
        );
        house
            .casework
            .mark_case_read(house.applicant.user, case.id)
            .await
            .expect("read");
        assert_eq!(
            house
                .casework
                .unread(house.applicant.user)
                .await
                .expect("a count"),
            0
        );
        let letters = house
            .casework
            .inbox(b.user, &PageRequest::first(10))
            .await
            .expect("a page")
            .items;
        assert_eq!(letters.len(), 1, "the submission");
        assert!(
            letters[0].text.en.contains("waits for review")
                && letters[0].text.zh.contains("Agency")
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_grant_changes_nothing() {
    on_both(CaseworkConfig::default, async |house| {
        let case = house.submitted().await;
        let [a, b, _] = &house.officers;
        house.act(a, case.id, "start-review").await.expect("review");
        house.act(a, case.id, "approve").await.expect("approved");
        *house.grants.refuse.lock().expect("unpoisoned") = true;
        let before = house.audited().await;
        let refused = house
            .act(b, case.id, "grant")
            .await
            .expect_err("the domain refuses");
        assert!(matches!(refused, CaseError::GrantRefused(_)));
        assert_eq!(house.things().await, 0, "what the domain wrote is undone");
        assert_eq!(house.audited().await, before);
        let opened = house.casework.open(b, case.id).await.expect("seen");
        assert_eq!(opened.case.state, "approved");
        *house.grants.refuse.lock().expect("unpoisoned") = false;
        house
            .act(b, case.id, "grant")
            .await
            .expect("granted at the second try");
        assert_eq!(
            (
                house.things().await,
                house.grants.calls.load(Ordering::SeqCst)
            ),
            (1, 2)
        );
    })
    .await;
}

/// A process that dies between a review's statements leaves the case as it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_review_cut_short_leaves_no_trace() {
    on_both(CaseworkConfig::default, async |house| {
        let case = house.submitted().await;
        let before = house.audited().await;
        for micros in [0, 200, 500, 1_000, 2_000, 4_000, 8_000] {
            let version = house
                .casework
                .open(&house.officers[0], case.id)
                .await
                .expect("seen")
                .case
                .version;
            let casework = house.casework.clone();
            let who = house.officers[0].clone();
            let step = tokio::spawn(async move {
                casework
                    .act(&who, case.id, version, "start-review", "")
                    .await
            });
            tokio::time::sleep(Duration::from_micros(micros)).await;
            step.abort();
            let outcome = step.await;
            // A commit that was on its way when its asker died may take effect between
            // two of these readings, but not for long.
            let until = Instant::now() + Duration::from_secs(10);
            let expected = loop {
                let now = house
                    .casework
                    .open(&house.officers[0], case.id)
                    .await
                    .expect("seen");
                let steps = now
                    .events
                    .iter()
                    .filter(|e| e.action == "start-review")
                    .count();
                let audited = usize::try_from(house.audited().await - before).expect("a few");
                let expected = usize::from(now.case.state == "in-review");
                if (steps, audited) == (expected, expected) {
                    break expected;
                }
                assert!(
                    Instant::now() < until,
                    "state {expected}, time-line {steps} and audit {audited} agree"
                );
                tokio::time::sleep(Duration::from_millis(10)).await;
            };
            if matches!(outcome, Ok(Ok(_))) {
                assert_eq!(expected, 1, "what was acknowledged is there");
            }
            if expected == 1 {
                return;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_see_nothing_and_drafts_are_private() {
    on_both(CaseworkConfig::default, async |house| {
        let draft = house
            .casework
            .start(&house.applicant, "sample", Some(house.org), whole(), None)
            .await
            .expect("a draft");
        let colleague = member(house.org);
        for who in [&house.stranger, &house.officers[0]] {
            assert!(matches!(
                house.casework.open(who, draft.id).await,
                Err(CaseError::NotFound(_))
            ));
            assert!(matches!(
                house.casework.values(who, draft.id).await,
                Err(CaseError::NotFound(_))
            ));
            assert!(matches!(
                house.casework.save(who, draft.id, 1, whole()).await,
                Err(CaseError::NotFound(_))
            ));
            assert!(matches!(
                house.casework.act(who, draft.id, 1, "submit", "").await,
                Err(CaseError::NotFound(_))
            ));
            assert!(matches!(
                house.casework.comment(who, draft.id, "x", false).await,
                Err(CaseError::NotFound(_))
            ));
            assert!(matches!(
                house.casework.assign(who, draft.id, 1, None).await,
                Err(CaseError::NotFound(_))
            ));
            assert!(matches!(
                house.casework.attachments(who, draft.id).await,
                Err(CaseError::NotFound(_))
            ));
            assert!(matches!(
                house
                    .casework
                    .attach(who, draft.id, "", "a.txt", b"x".to_vec())
                    .await,
                Err(CaseError::NotFound(_))
            ));
            assert!(
                house
                    .casework
                    .list(who, &Filter::default(), &PageRequest::first(10))
                    .await
                    .expect("a list")
                    .items
                    .is_empty()
            );
        }
        assert_eq!(
            house
                .casework
                .open(&colleague, draft.id)
                .await
                .expect("the same organisation")
                .case
                .id,
            draft.id
        );
        house
            .act(&house.applicant, draft.id, "submit")
            .await
            .expect("submitted");
        assert!(
            house
                .casework
                .open(&house.officers[0], draft.id)
                .await
                .is_ok()
        );
        assert!(matches!(
            house.casework.open(&house.stranger, draft.id).await,
            Err(CaseError::NotFound(_))
        ));
        // A colleague may act for the applicant, and so is no second pair of eyes, but a stranger is refused an organisation.
        let refused = house
            .casework
            .start(&house.stranger, "sample", Some(house.org), whole(), None)
            .await;
        assert!(matches!(refused, Err(CaseError::NeedsOrg)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_and_twice_the_same_are_told() {
    on_both(CaseworkConfig::default, async |house| {
        let one = house
            .casework
            .start(
                &house.applicant,
                "sample",
                Some(house.org),
                whole(),
                Some("k-1"),
            )
            .await
            .expect("a draft");
        let again = house
            .casework
            .start(
                &house.applicant,
                "sample",
                Some(house.org),
                whole(),
                Some("k-1"),
            )
            .await
            .expect("the same");
        assert_eq!(one.id, again.id);
        let other = house
            .casework
            .start(
                &house.applicant,
                "sample",
                Some(house.org),
                values(json!({"name": "Another"})),
                Some("k-1"),
            )
            .await;
        assert!(matches!(other, Err(CaseError::KeyReused)), "{other:?}");
        let saved = house
            .casework
            .save(
                &house.applicant,
                one.id,
                1,
                values(json!({"name": "Bureau"})),
            )
            .await
            .expect("saved");
        assert_eq!((saved.version, saved.subject.as_str()), (2, "Bureau"));
        let late = house
            .casework
            .save(&house.applicant, one.id, 1, values(json!({"name": "Late"})))
            .await;
        assert!(matches!(
            late,
            Err(CaseError::Changed {
                expected: 1,
                found: 2,
                ..
            })
        ));
        let late = house
            .casework
            .act(&house.applicant, one.id, 1, "submit", "")
            .await;
        assert!(matches!(late, Err(CaseError::Changed { .. })));
    })
    .await;
}

/// Nobody hears of a draft that is withdrawn, and what is refused at once was never there.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_submitted_is_nobodys_news() {
    on_both(CaseworkConfig::default, async |house| {
        let unread = async || {
            let officer = house.officers[0].user;
            house.casework.unread(officer).await.expect("a count")
        };
        let (who, org) = (&house.applicant, Some(house.org));
        let draft = house
            .casework
            .start(who, "sample", org, whole(), None)
            .await;
        let draft = draft.expect("a draft");
        house
            .act(who, draft.id, "withdraw")
            .await
            .expect("withdrawn");
        assert_eq!(unread().await, 0);
        let entries = house.audited().await;
        let mut short = whole();
        short.remove("hosts");
        let refused = house
            .casework
            .start_submitted(who, "sample", org, short, Some("k-2"))
            .await;
        assert!(matches!(refused, Err(CaseError::Invalid(_))), "{refused:?}");
        assert_eq!(house.audited().await, entries);
        let sent = house
            .casework
            .start_submitted(who, "sample", org, whole(), Some("k-2"))
            .await
            .expect("submitted");
        assert_eq!(sent.state, "submitted");
        assert_eq!(unread().await, 1);
        let again = house
            .casework
            .start_submitted(who, "sample", org, whole(), Some("k-2"))
            .await
            .expect("the same");
        assert_eq!((again.id, unread().await), (sent.id, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_must_be_whole_and_personal_data_are_sealed() {
    on_both(CaseworkConfig::default, async |house| {
        let draft = house
            .casework
            .start(
                &house.applicant,
                "sample",
                Some(house.org),
                values(json!({"name": "Agency", "email": "someone@agency.example"})),
                None,
            )
            .await
            .expect("a draft");
        let refused = house.act(&house.applicant, draft.id, "submit").await;
        let Err(CaseError::Invalid(problems)) = refused else {
            panic!("{refused:?}")
        };
        let fields: Vec<&str> = problems.iter().map(|p| p.field.as_str()).collect();
        assert_eq!(fields, ["kind", "hosts", "agree"]);
        let (clear, personal): (String, Vec<u8>) =
            sqlx::query_as("SELECT clear, personal FROM casework_case")
                .fetch_one(house.db.pool())
                .await
                .expect("a row");
        assert!(!clear.contains("someone@"));
        assert!(!personal.windows(8).any(|bytes| bytes == b"someone@"));
        let whole = house.submitted().await;
        let before = house.audited().await;
        let read = house
            .casework
            .values(&house.officers[0], whole.id)
            .await
            .expect("an officer reads");
        assert_eq!(read["email"], "someone@agency.example");
        assert_eq!(house.audited().await, before + 1, "the reading is recorded");
        house
            .casework
            .values(&house.applicant, whole.id)
            .await
            .expect("one's own");
        assert_eq!(house.audited().await, before + 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn comments_are_public_or_internal() {
    on_both(CaseworkConfig::default, async |house| {
        let case = house.submitted().await;
        house
            .casework
            .comment(&house.officers[0], case.id, "only among us", true)
            .await
            .expect("internal");
        house
            .casework
            .comment(&house.officers[0], case.id, "please add a plan", false)
            .await
            .expect("public");
        let texts = |opened: casework::Opened| -> Vec<String> {
            opened
                .events
                .into_iter()
                .filter(|e| e.kind == EventKind::Comment)
                .map(|e| e.text)
                .collect()
        };
        assert_eq!(
            texts(
                house
                    .casework
                    .open(&house.applicant, case.id)
                    .await
                    .expect("own")
            ),
            ["please add a plan"]
        );
        assert_eq!(
            texts(
                house
                    .casework
                    .open(&house.officers[1], case.id)
                    .await
                    .expect("seen")
            )
            .len(),
            2
        );
        assert!(
            house
                .casework
                .comment(&house.applicant, case.id, "secret", true)
                .await
                .is_err()
        );
        assert!(
            house
                .casework
                .comment(&house.applicant, case.id, "  ", false)
                .await
                .is_err()
        );
        assert!(
            house
                .casework
                .comment(&house.applicant, case.id, &"x".repeat(4_001), false)
                .await
                .is_err()
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_remind_once_and_mark_once() {
    on_both(CaseworkConfig::default, async |house| {
        let case = house.submitted().await;
        let start = base::Clock::now(&*house.clock);
        let look = async |hours: u64| {
            let now = start.plus(Duration::from_secs(hours * 3_600));
            house.clock.set(now);
            house.casework.look_at_deadlines(now).await.expect("a look")
        };
        assert_eq!(look(47).await, 0);
        assert_eq!(look(48).await, 1, "a reminder");
        assert_eq!(look(49).await, 0, "only one");
        assert_eq!(look(72).await, 1, "overdue");
        assert_eq!(look(73).await, 0, "only once");
        let opened = house
            .casework
            .open(&house.officers[0], case.id)
            .await
            .expect("seen");
        assert!(opened.case.overdue);
        assert_eq!(house.casework.waiting().await.expect("counts"), (1, 1));
        let letters = house
            .casework
            .inbox(house.officers[0].user, &PageRequest::first(10))
            .await
            .expect("letters")
            .items;
        assert_eq!(letters.len(), 3, "submitted, reminder, overdue");
        // An overdue case comes first, whatever its number.
        let newer = house.submitted().await;
        let listed = house
            .casework
            .list(
                &house.officers[0],
                &Filter {
                    open: true,
                    ..Filter::default()
                },
                &PageRequest::first(1),
            )
            .await
            .expect("a page");
        assert_eq!(listed.items[0].id, case.id);
        let next = PageRequest {
            cursor: listed.next,
            limit: Some(1),
        };
        let listed = house
            .casework
            .list(
                &house.officers[0],
                &Filter {
                    open: true,
                    ..Filter::default()
                },
                &next,
            )
            .await
            .expect("a page");
        assert_eq!(listed.items[0].id, newer.id);
        house
            .act(&house.officers[0], case.id, "start-review")
            .await
            .expect("moved");
        assert!(
            !house
                .casework
                .open(&house.officers[0], case.id)
                .await
                .expect("seen")
                .case
                .overdue
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_kept_sealed_and_given_to_those_who_may() {
    on_both(CaseworkConfig::default, async |house| {
        let draft = house
            .casework
            .start(&house.applicant, "sample", Some(house.org), whole(), None)
            .await
            .expect("a draft");
        let content = b"%PDF-1.7 personal things".to_vec();
        let file = house
            .casework
            .attach(
                &house.applicant,
                draft.id,
                "plan",
                "../計畫.pdf",
                content.clone(),
            )
            .await
            .expect("attached");
        assert_eq!(
            (file.name.as_str(), file.media.as_str()),
            ("計畫.pdf", "application/pdf")
        );
        assert!(
            house
                .casework
                .attach(&house.applicant, draft.id, "name", "a.pdf", content.clone())
                .await
                .is_err(),
            "no file field"
        );
        assert!(
            house
                .casework
                .attach(&house.applicant, draft.id, "", "a.exe", content.clone())
                .await
                .is_err(),
            "no such kind"
        );
        house
            .act(&house.applicant, draft.id, "submit")
            .await
            .expect("submitted");
        let (_, bytes) = house
            .casework
            .read_attachment(&house.officers[0], draft.id, file.id)
            .await
            .expect("an officer reads");
        assert_eq!(bytes, content);
        assert!(
            house
                .casework
                .read_attachment(&house.stranger, draft.id, file.id)
                .await
                .is_err()
        );
        assert!(
            house
                .casework
                .remove_attachment(&house.applicant, draft.id, file.id)
                .await
                .is_err(),
            "not while under review"
        );
        let mut kept = vec![house.db.config.blobs.dir.clone()];
        let mut files = 0;
        while let Some(directory) = kept.pop() {
            for entry in std::fs::read_dir(directory).expect("readable") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    kept.push(path);
                } else {
                    files += 1;
                    let bytes = std::fs::read(path).expect("readable");
                    assert!(!bytes.windows(8).any(|part| part == b"personal"));
                }
            }
        }
        assert_eq!(files, 1);
    })
    .await;
}
