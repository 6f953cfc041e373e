//! Alerts from draft to the last reply, the lights that follow, and what the public sees.

use std::time::Duration;

use base::CaseId;
use casework::form::{Text, Values};
use isac::CertError;
use isac::alert::{FORM, Reply};
use isac::light::keep::Whose;
use isac::light::{Colour, Face};
use isac::site::articles::{ArticleKind, NewArticle};
use serde_json::json;
use store::PageRequest;
use web::OrgScope;

use crate::house::{House, by, on_both, report};

const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) fn alert(changes: serde_json::Value) -> Values {
    let mut values = json!({
        "subject": "歷史資料庫漏洞遭利用",
        "kind": "ewa",
        "subkind_ewa": "exposure",
        "warning_source": "原廠通告",
        "targets": ["192.0.2.7"],
        "tlp": "clear",
        "severity": "high",
        "summary": "SCADA Historian 的漏洞正遭利用。",
        "advice": "立即更新並查看登入紀錄。",
        "products": ["SCADA Historian 9"],
        "cves": ["CVE-2026-12345"],
        "sector_water": true,
        "reply": "verdict",
        "reply_hours": 24,
        "public": true,
    });
    for (name, value) in changes.as_object().expect("an object") {
        values[name] = value.clone();
    }
    values.as_object().cloned().expect("an object")
}

async fn drafted(house: &House, values: Values) -> CaseId {
    let author = &house.officers[0];
    let draft = house.casework.start(author, FORM, None, values, None).await;
    draft.expect("a draft").id
}

pub(crate) async fn published(house: &House, values: Values) -> CaseId {
    let case = drafted(house, values).await;
    house
        .act(&house.officers[0], case, "submit")
        .await
        .expect("submitted");
    house
        .act(&house.officers[1], case, "publish")
        .await
        .expect("published");
    case
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_needs_a_second_officer_and_finds_those_it_concerns() {
    on_both(async |house| {
        let [author, second, _] = &house.officers;
        // Members do not even see that the form exists.
        let begun = house
            .casework
            .start(&house.plumber, FORM, None, alert(json!({})), None)
            .await;
        assert!(begun.is_err());
        let case = drafted(&house, alert(json!({}))).await;
        house.act(author, case, "submit").await.expect("submitted");
        assert!(
            house.act(author, case, "publish").await.is_err(),
            "four eyes"
        );
        house.act(second, case, "publish").await.expect("published");
        let found = house
            .cert
            .alert(&OrgScope::All, case)
            .await
            .expect("an alert");
        assert_eq!((found.recipients, found.replied), (1, 0));
        let letters = house.letters(&house.plumber).await;
        assert!(letters[0].starts_with("Alert #"), "{letters:?}");
        // The power company was not sent it: for it there is no such alert.
        let others = OrgScope::Only(vec![house.power]);
        assert!(matches!(
            house.cert.alert(&others, case).await,
            Err(CertError::NotFound { .. })
        ));
        assert!(
            house
                .cert
                .alerts(&others, &PageRequest::first(9))
                .await
                .expect("a page")
                .items
                .is_empty()
        );
        assert_eq!(
            house.cert.replies_waiting(&others).await.expect("a count"),
            0
        );
        assert!(house.letters(&house.electrician).await.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_are_collected_chased_and_shown_to_those_concerned() {
    on_both(async |house| {
        let both = alert(json!({"sector_energy": true}));
        let case = published(&house, both).await;
        let now = || house.cert.db().clock().now();
        assert_eq!(house.cert.chase(now()).await.expect("a look"), 0);
        house.clock.advance(12 * HOUR);
        assert_eq!(house.cert.chase(now()).await.expect("a look"), 2);
        assert_eq!(house.cert.chase(now()).await.expect("a look"), 0);
        let water = OrgScope::Only(vec![house.water]);
        let seen = house.cert.alert(&water, case).await.expect("an alert");
        let plumber = by(&house.plumber);
        let wrong = house
            .cert
            .reply(&plumber, &seen, house.water, Reply::Acknowledged, "")
            .await;
        assert!(
            matches!(wrong, Err(CertError::Invalid(_))),
            "an early warning asks for a finding"
        );
        house
            .cert
            .reply(&plumber, &seen, house.water, Reply::Incident, "已隔離")
            .await
            .expect("kept");
        let letters = house.letters(&house.officers[2]).await;
        assert!(letters[0].contains("real incident"), "{letters:?}");
        house.clock.advance(12 * HOUR);
        assert_eq!(
            house.cert.chase(now()).await.expect("a look"),
            1,
            "only the other one"
        );
        let page = PageRequest::first(9);
        let all = house
            .cert
            .recipients(&OrgScope::All, case, &page)
            .await
            .expect("a page")
            .items;
        assert_eq!(all.len(), 2);
        let own = house
            .cert
            .recipients(&water, case, &page)
            .await
            .expect("a page")
            .items;
        assert_eq!(own.len(), 1, "a member sees itself only");
        assert_eq!((own[0].reply, own[0].chased), (Some(Reply::Incident), 1));
        let seen = house.cert.alert(&water, case).await.expect("an alert");
        assert_eq!(
            (seen.recipients, seen.replied),
            (1, 1),
            "not how many others there are"
        );
        house
            .act(&house.officers[2], case, "retract")
            .await
            .expect("retracted");
        let seen = house.cert.alert(&water, case).await.expect("still there");
        let late = house
            .cert
            .reply(&plumber, &seen, house.water, Reply::Unknown, "")
            .await;
        assert!(matches!(late, Err(CertError::Refused(_))));
        assert!(
            house
                .cert
                .public_alerts(&page)
                .await
                .expect("a page")
                .items
                .is_empty()
        );
        store::audit::verify(&house.db, None)
            .await
            .expect("the chain holds");
    })
    .await;
}

/// What mail says: the title of an alert, never that of one for its recipients' eyes only.
#[tokio::test(flavor = "multi_thread")]
async fn mail_says_what_an_alert_is_and_of_red_ones_no_title() {
    on_both(async |house| {
        let mail = async |case: CaseId| -> Vec<(String, String, i64)> {
            sqlx::query_as("SELECT coalesce(text, ''), coalesce(detail, ''), coalesce(unnamed, 0) FROM casework_delivery WHERE case_id = $1 ORDER BY id")
                .bind(case.to_string())
                .fetch_all(house.db.pool())
                .await
                .expect("rows")
        };
        let open = published(&house, alert(json!({}))).await;
        let all = mail(open).await;
        let told = all.iter().find(|(_, detail, _)| !detail.is_empty()).expect("to the member");
        assert!(told.0.contains("歷史資料庫漏洞"), "{told:?}");
        for expected in [
            "EWA 資安預警情報",
            "弱點或漏洞暴露",
            "嚴重程度:高",
            "TLP:CLEAR",
            "回覆期限:2026-11-22 09:00",
            "Reply due: 2026-11-22 09:00",
        ] {
            assert!(told.1.contains(expected), "{expected}: {told:?}");
        }
        // The author hears what happened, not that something did.
        let letters = house.letters(&house.officers[0]).await;
        assert!(letters[0].ends_with("was published"), "{letters:?}");

        let red = published(&house, alert(json!({"tlp": "red", "public": false}))).await;
        house.act(&house.officers[2], red, "retract").await.expect("retracted");
        let all = mail(red).await;
        assert!(all.len() >= 6, "submitted, published, retracted: {all:?}");
        for (text, detail, unnamed) in &all {
            assert!(!text.contains("歷史資料庫") && !detail.contains("歷史資料庫"), "{text}");
            // A sentence of casework's own is made when it leaves, without the name.
            assert!(text.contains("TLP:RED") || *unnamed == 1, "{text:?} {unnamed}");
        }
    })
    .await;
}

/// An alert from before there were sub-kinds is read, answered and shared as ever.
#[tokio::test(flavor = "multi_thread")]
async fn alerts_from_before_sub_kinds_keep_working() {
    on_both(async |house| {
        let case = published(&house, alert(json!({}))).await;
        let mut before = alert(json!({}));
        for name in ["subkind_ewa", "warning_source", "targets", "reply_hours"] {
            before.remove(name);
        }
        let mut tx = house.db.begin().await.expect("a transaction");
        let document = serde_json::to_string(&before).expect("JSON");
        sqlx::query("UPDATE isac_alert SET document = $2 WHERE case_id = $1")
            .bind(case.to_string())
            .bind(&document)
            .execute(&mut *tx)
            .await
            .expect("as before");
        sqlx::query("UPDATE casework_case SET form_version = 1, clear = $2 WHERE id = $1")
            .bind(case.to_string())
            .bind(&document)
            .execute(&mut *tx)
            .await
            .expect("as before");
        tx.commit().await.expect("kept");
        let found = house
            .cert
            .alert(&OrgScope::All, case)
            .await
            .expect("an alert");
        assert_eq!(found.subkind(), "");
        let form = house.cert.alert_form().expect("joined");
        assert!(found.details(&form).is_empty());
        let back = isac::kinds::from_stix(&isac::kinds::to_stix(&found, "c"), &form).expect("ours");
        assert_eq!(back["advice"], before["advice"]);
        let said = isac::kinds::Said {
            reply: Reply::FalseAlarm,
            remark: "",
            found: "授權的掃描",
            done: "無須處理",
        };
        let plumber = by(&house.plumber);
        house
            .cert
            .reply_with(&plumber, &found, house.water, said)
            .await
            .expect("kept");
        let page = PageRequest::first(9);
        let scope = OrgScope::Only(vec![house.water]);
        let kept = house
            .cert
            .recipients(&scope, case, &page)
            .await
            .expect("a page");
        assert_eq!(
            (kept.items[0].found.as_str(), kept.items[0].done.as_str()),
            ("授權的掃描", "無須處理")
        );
        house
            .act(&house.officers[2], case, "retract")
            .await
            .expect("retracted");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_that_break_a_rule_stay_drafts() {
    on_both(async |house| {
        let mut hourless = alert(json!({}));
        hourless.remove("reply_hours");
        let case = drafted(&house, hourless).await;
        let refused = house.act(&house.officers[0], case, "submit").await;
        let Err(casework::CaseError::Invalid(problems)) = refused else {
            panic!("an early warning without hours: {refused:?}");
        };
        assert_eq!(problems[0].field, "reply_hours");
        for (changes, expected) in [
            (json!({"reply": "none"}), "must ask for a finding"),
            (json!({"sector_water": false}), "at least one sector"),
            (json!({"tlp": "red"}), "only TLP:CLEAR"),
        ] {
            let case = drafted(&house, alert(changes)).await;
            let refused = house
                .act(&house.officers[0], case, "submit")
                .await
                .expect_err(expected);
            assert!(refused.to_string().contains(expected), "{refused}");
        }
        let nobody = alert(json!({"sector_water": false, "sector_finance": true, "public": false}));
        let case = drafted(&house, nobody).await;
        house
            .act(&house.officers[0], case, "submit")
            .await
            .expect("submitted");
        let refused = house
            .act(&house.officers[1], case, "publish")
            .await
            .expect_err("nobody");
        assert!(
            refused.to_string().contains("no member matches"),
            "{refused}"
        );
        assert_eq!(house.count("isac_alert").await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lights_follow_what_happens_and_say_why() {
    on_both(async |house| {
        let now = || house.cert.db().clock().now();
        house.cert.look_at_lights(now()).await.expect("a look");
        let water = OrgScope::Only(vec![house.water]);
        let lights = house.cert.lights(&water).await.expect("lights");
        assert_eq!(lights.len(), 1, "a member sees its own light only");
        assert_eq!(lights[0].colour, Colour::Green);
        let case = house.reported(isac::report::FORM, report(4)).await;
        assert_eq!(
            house.cert.look_at_lights(now()).await.expect("a look"),
            3,
            "member, sector, whole"
        );
        assert_eq!(house.cert.look_at_lights(now()).await.expect("a look"), 0);
        let own = house
            .cert
            .light(&water, Whose::Member(house.water))
            .await
            .expect("a light");
        assert_eq!(own.colour, Colour::Red);
        assert!(own.light.parts[0].0.en.contains("of level 4"), "{own:?}");
        assert_eq!(own.light.faces[3].0, Face::Incidents);
        for (scope, whose) in [
            (&water, Whose::Member(house.power)),
            (&water, Whose::Whole),
            (&water, Whose::Sector(isac::cert::Sector::Water)),
        ] {
            let hidden = house.cert.light(scope, whose).await;
            assert!(
                matches!(hidden, Err(CertError::NotFound { .. })),
                "{whose:?}"
            );
        }
        let power = house
            .cert
            .light(&OrgScope::All, Whose::Member(house.power))
            .await
            .expect("a light");
        assert_eq!(power.colour, Colour::Green);
        let supposed = house
            .cert
            .what_if(&OrgScope::All, house.power, Face::Physical, 100.0)
            .await
            .expect("supposed");
        assert_eq!(supposed.0, Colour::Orange);
        let after = house
            .cert
            .light(&OrgScope::All, Whose::Member(house.power))
            .await
            .expect("a light");
        assert_eq!(after, power, "nothing was kept");
        let by = by(&house.electrician);
        let wrong = house
            .cert
            .observe(&by, house.power, Face::Incidents, 50, "x")
            .await;
        assert!(matches!(wrong, Err(CertError::Invalid(_))));
        house
            .cert
            .observe(&by, house.power, Face::Physical, 60, "變電所淹水")
            .await
            .expect("told");
        house.cert.look_at_lights(now()).await.expect("a look");
        let wet = house
            .cert
            .light(&OrgScope::All, Whose::Member(house.power))
            .await
            .expect("a light");
        assert!(
            wet.colour > Colour::Green && wet.light.parts[0].0.zh == "變電所淹水",
            "{wet:?}"
        );
        house
            .act(&house.officers[0], case.id, "dismiss")
            .await
            .expect("dismissed");
        house.cert.look_at_lights(now()).await.expect("a look");
        let calm = house
            .cert
            .light(&water, Whose::Member(house.water))
            .await
            .expect("a light");
        assert_eq!(calm.colour, Colour::Green);
        let changes = house
            .cert
            .light_changes(Whose::Member(house.water))
            .await
            .expect("changes");
        let seen: Vec<(Colour, Colour)> = changes.iter().map(|c| (c.from, c.to)).collect();
        assert_eq!(
            seen,
            [(Colour::Red, Colour::Green), (Colour::Green, Colour::Red)]
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_sees_what_is_published_and_follows_an_own_report() {
    on_both(async |house| {
        let page = PageRequest::first(9);
        let case = published(&house, alert(json!({}))).await;
        published(&house, alert(json!({"public": false}))).await;
        let open = house.cert.public_alerts(&page).await.expect("a page").items;
        assert_eq!(open.iter().map(|a| a.case).collect::<Vec<_>>(), [case]);
        assert_eq!(
            (open[0].recipients, open[0].replied),
            (0, 0),
            "counts are nobody's business"
        );
        let officer = by(&house.officers[0]);
        let both = |text: &str| Text::new(text, text);
        let new = NewArticle {
            kind: ArticleKind::Awareness,
            slug: "phishing-2026".into(),
            title: both("小心釣魚"),
            summary: both("如何分辨"),
            body: both("# 看網址"),
        };
        let id = house
            .cert
            .write_article(&officer, None, &new)
            .await
            .expect("written");
        let twice = house.cert.write_article(&officer, None, &new).await;
        assert!(
            matches!(twice, Err(CertError::Invalid(_))),
            "the name is taken"
        );
        let ugly = NewArticle {
            slug: "../x".into(),
            title: both(""),
            ..new.clone()
        };
        let wrong = house
            .cert
            .write_article(&officer, Some(&id), &ugly)
            .await
            .expect_err("wrong");
        assert!(matches!(wrong, CertError::Invalid(problems) if problems.len() == 3));
        assert!(
            house.cert.published_article("phishing-2026").await.is_err(),
            "a draft"
        );
        house
            .cert
            .publish_article(&officer, &id, true)
            .await
            .expect("published");
        let read = house
            .cert
            .published_article("phishing-2026")
            .await
            .expect("there");
        assert_eq!(read.title.zh, "小心釣魚");
        assert_eq!(
            house
                .cert
                .articles(None, false, &page)
                .await
                .expect("a page")
                .items
                .len(),
            1
        );
        house
            .cert
            .publish_article(&officer, &id, false)
            .await
            .expect("taken back");
        assert!(house.cert.published_article("phishing-2026").await.is_err());

        let picture = b"\x89PNG\r\n\x1a\nrest".to_vec();
        let code = house
            .cert
            .citizen_reports(
                "收到假冒水費的簡訊",
                "citizen@mail.example",
                Some(("shot.png", picture.clone())),
            )
            .await
            .expect("kept");
        let followed = house
            .cert
            .follow(&code.to_lowercase())
            .await
            .expect("found");
        assert_eq!(
            (followed.told.text.as_str(), followed.answer),
            ("收到假冒水費的簡訊", None)
        );
        assert!(house.cert.follow("AAAAA-AAAAA-AAAAA-AAAAA").await.is_err());
        let program = house
            .cert
            .citizen_reports("x", "", Some(("a.exe", vec![1])))
            .await;
        assert!(matches!(program, Err(CertError::Invalid(_))));
        assert!(house.cert.citizen_reports("  ", "", None).await.is_err());
        // Nothing of it stands in the database in clear.
        let (sealed,): (Vec<u8>,) = sqlx::query_as("SELECT sealed FROM isac_citizen")
            .fetch_one(house.db.pool())
            .await
            .expect("one row");
        let text = "收到假冒".as_bytes();
        assert!(!sealed.windows(text.len()).any(|part| part == text));
        let listed = house
            .cert
            .citizens(&officer, &page)
            .await
            .expect("a page")
            .items;
        let (name, bytes) = house
            .cert
            .citizen_file(&officer, &listed[0].id)
            .await
            .expect("a file");
        assert_eq!((name.as_str(), bytes), ("shot.png", picture));
        house
            .cert
            .answer_citizen(&officer, &listed[0].id, "已通報封鎖")
            .await
            .expect("answered");
        let followed = house.cert.follow(&code).await.expect("found");
        assert_eq!(followed.answer.as_deref(), Some("已通報封鎖"));
        store::audit::verify(&house.db, None)
            .await
            .expect("the chain holds");
    })
    .await;
}
