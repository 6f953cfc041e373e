//! Rules asked for, approved, ended, undone, followed; only for one's own addresses.

use std::time::Duration;

use base::enforcement::{Action, Rule, Target};
use base::{Clock as _, EnforcementId};
use exchange::document::{Document, Flow, NumberRange};
use exchange::protect::engine::{New, State, Wanted};
use exchange::protect::policy::Policy;
use exchange::room::{By, RoomError};
use store::PageRequest;
use web::OrgScope;

use super::house::{House, on_both};

fn new(asn: u32, to: &str) -> New {
    New {
        asn,
        destination: to.parse().expect("a prefix"),
        flow: None,
        sites: Vec::new(),
        hours: 24,
        reason: "DNS amplification".into(),
        source: "console",
    }
}

fn fields(error: RoomError) -> Vec<String> {
    match error {
        RoomError::Invalid(problems) => problems.into_iter().map(|p| p.field).collect(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn only_ones_own_addresses_for_at_most_seven_days() {
    on_both(async |house: House| {
        house.two_members().await;
        let protect = &house.protect;
        let anna = By::user(house.anna.user);
        let north = OrgScope::Only(vec![house.north]);
        let foreign = protect
            .ask(&anna, &north, &new(64_501, "192.0.2.7/32"))
            .await;
        assert_eq!(fields(foreign.expect_err("another's")), ["destination"]);
        let other = protect
            .ask(&anna, &north, &new(64_502, "192.0.2.7/32"))
            .await;
        assert!(
            matches!(other, Err(RoomError::NotFound { .. })),
            "another's member"
        );
        let long = New {
            hours: 169,
            reason: " ".into(),
            sites: vec!["taipei".into()],
            ..new(64_501, "198.51.100.7/32")
        };
        let told = fields(
            protect
                .ask(&anna, &north, &long)
                .await
                .expect_err("too long"),
        );
        assert_eq!(told, ["hours", "reason", "sites"]);
        let kept = protect
            .ask(&anna, &north, &new(64_501, "198.51.100.7/32"))
            .await
            .expect("announced");
        assert_eq!(kept.state, State::Active);
        let same = protect
            .ask(&anna, &north, &new(64_501, "198.51.100.7/32"))
            .await;
        assert!(matches!(same, Err(RoomError::Refused(_))), "{same:?}");
        // The other member neither sees nor lifts it.
        let south = OrgScope::Only(vec![house.south]);
        let ben = By::user(house.ben.user);
        assert!(matches!(
            protect.get(&south, &kept.rule.id).await,
            Err(RoomError::NotFound { .. })
        ));
        assert!(matches!(
            protect.lift(&ben, &south, &kept.rule.id, "").await,
            Err(RoomError::NotFound { .. })
        ));
        let page = protect
            .list(&south, &Wanted::default(), &PageRequest::first(10))
            .await
            .expect("a page");
        assert!(page.items.is_empty());
        let page = protect
            .list(&OrgScope::All, &Wanted::default(), &PageRequest::first(10))
            .await
            .expect("a page");
        assert_eq!(page.items.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_rule_is_extended_undone_put_back_and_ends_by_itself() {
    on_both(async |house: House| {
        house.two_members().await;
        let protect = &house.protect;
        let anna = By::user(house.anna.user);
        let north = OrgScope::Only(vec![house.north]);
        let id = protect.ask(&anna, &north, &new(64_501, "198.51.100.7/32")).await.expect("announced").rule.id;
        let mut changed = protect.changed();
        changed.borrow_and_update();
        house.clock.advance(Duration::from_secs(20 * 3_600));
        protect.extend(&anna, &north, &id, 48).await.expect("extended");
        assert!(changed.has_changed().expect("open"));
        house.clock.advance(Duration::from_secs(20 * 3_600));
        assert_eq!(protect.look().await.expect("looked"), 0);
        protect.lift(&anna, &north, &id, "over").await.expect("lifted");
        assert!(protect.in_force().await.expect("read").is_empty());
        let compiled = async || house.exchange.compile(house.clock.now()).await.expect("compiled");
        assert!(compiled().await.document.protection.is_empty(), "the sites are told without it");
        protect.restore(&anna, &north, &id).await.expect("back");
        assert_eq!(protect.in_force().await.expect("read").len(), 1);
        let told = compiled().await;
        assert_eq!(told.document.protection.len(), 1);
        let until = protect.get(&north, &id).await.expect("read").until;
        assert_eq!(told.ends.get(&id).copied(), until, "and when it ends by itself");
        house.clock.advance(Duration::from_secs(40 * 3_600));
        assert!(protect.in_force().await.expect("read").is_empty(), "ended without a look");
        let told = compiled().await;
        assert!(told.document.protection.is_empty() && told.ends.is_empty());
        assert_eq!(protect.look().await.expect("looked"), 1);
        assert_eq!(protect.get(&north, &id).await.expect("read").state, State::Expired);
        assert!(protect.restore(&anna, &north, &id).await.is_err());
        let steps: Vec<String> = protect.history(&id).await.expect("read").into_iter().map(|e| e.action).collect();
        assert_eq!(steps, ["expire", "restore", "lift", "extend", "announce"]);
        let audited = house.count("SELECT count(*) FROM audit_entry WHERE action LIKE 'protection.%' AND subject LIKE 'protection:%'").await;
        assert_eq!(audited, 5);
    })
    .await;
}

#[tokio::test]
async fn what_reaches_far_waits_for_a_second_person() {
    on_both(async |house: House| {
        house.two_members().await;
        let protect = &house.protect;
        let anna = By::user(house.anna.user);
        let north = OrgScope::Only(vec![house.north]);
        let wide = protect
            .ask(&anna, &north, &new(64_501, "198.51.100.0/24"))
            .await
            .expect("proposed");
        assert_eq!(wide.state, State::Proposed);
        assert!(protect.in_force().await.expect("read").is_empty());
        let own = protect
            .decide(house.anna.user, None, &wide.rule.id, true, "")
            .await;
        assert!(matches!(own, Err(RoomError::Refused(_))), "four eyes");
        protect
            .decide(house.officers[0].user, None, &wide.rule.id, true, "")
            .await
            .expect("approved");
        assert_eq!(protect.in_force().await.expect("read").len(), 1);
        // The policy is a document with versions.
        let officer = By::user(house.officers[0].user);
        let wrong = protect
            .set_policy(
                &officer,
                Policy {
                    hours_max: 500,
                    ..Policy::default()
                },
            )
            .await;
        assert_eq!(fields(wrong.expect_err("too long")), ["hours_max"]);
        let version = protect
            .set_policy(
                &officer,
                Policy {
                    active_max: 1,
                    approve_flows: true,
                    ..Policy::default()
                },
            )
            .await
            .expect("kept");
        assert_eq!(version, 1);
        let more = protect
            .ask(&anna, &north, &new(64_501, "198.51.100.9/32"))
            .await;
        assert!(matches!(more, Err(RoomError::Refused(_))), "one only");
    })
    .await;
}

#[tokio::test]
async fn rules_reach_the_document_and_say_where_they_are_announced() {
    on_both(async |house: House| {
        house.two_members().await;
        let protect = &house.protect;
        let anna = By::user(house.anna.user);
        let north = OrgScope::Only(vec![house.north]);
        let flow = New {
            flow: Some(Flow {
                source: "192.0.2.0/24".parse().ok(),
                protocols: vec![17],
                source_ports: vec![NumberRange { low: 53, high: 53 }],
                rate_bytes: Some(0),
                ..Flow::default()
            }),
            sites: vec!["hsinchu".into()],
            ..new(64_501, "198.51.100.0/25")
        };
        let run = protect.dry_run(&north, &flow).await.expect("a look");
        assert!(!run.waits);
        assert_eq!(run.bird, "flow4 { dst 198.51.100.0/25; src 192.0.2.0/24; proto 17; sport 53; }");
        let said: Vec<(&str, bool, &[u32])> = run.sites.iter().map(|at| (at.site.as_str(), at.announces, at.to.as_slice())).collect();
        assert_eq!(said, [("hsinchu", true, &[64_502][..]), ("tainan", false, &[][..])]);
        assert!(protect.in_force().await.expect("read").is_empty(), "nothing was kept");
        protect.ask(&anna, &north, &flow).await.expect("announced");
        protect.ask(&anna, &north, &new(64_501, "198.51.100.7/32")).await.expect("announced");
        let mut document = Document::parse("x.toml", "name = \"X\"\npolicy = { asn = 64500 }\n[[sites]]\nname = \"hsinchu\"\nrouter_id = \"203.0.1.1\"\naddress_v4 = \"203.0.1.1\"\n[[members]]\nasn = 64501\nname = \"N\"\n").expect("valid");
        protect.set_intelligence(&anna, Some(house.north), 64_501, true).await.expect("kept");
        protect.fill(&mut document).await.expect("filled");
        assert_eq!(document.protection.len(), 2);
        assert!(document.members[0].intelligence);
        assert!(runtime::config::check(&document).is_empty(), "a good document");
        document.sites[0].name = "tainan".into();
        document.members[0].asn = 64_502;
        protect.fill(&mut document).await.expect("filled");
        assert!(document.protection.is_empty(), "no member, no rule");
    })
    .await;
}

#[tokio::test]
async fn enforcements_are_followed_and_spare_members() {
    on_both(async |house: House| {
        house.two_members().await;
        let protect = &house.protect;
        let rule = |text: &str, action: Action| Rule {
            id: EnforcementId::generate(),
            target: Target::network(text.parse().expect("a prefix")),
            action,
            until: Some(
                house
                    .protect
                    .db()
                    .clock()
                    .now()
                    .plus(Duration::from_secs(3_600)),
            ),
        };
        let bad = rule("203.0.113.66/32", Action::Refuse);
        let own = rule("198.51.100.0/28", Action::Drop);
        let seen = rule("203.0.113.67/32", Action::Observe);
        let all = [bad.clone(), own.clone(), seen];
        let followed = protect.follow(&all).await.expect("followed");
        assert_eq!((followed.made, followed.lifted), (2, 0));
        let force = protect.in_force().await.expect("read");
        assert_eq!(force.len(), 1, "a member's own space waits for a person");
        assert_eq!(
            force[0].rule.flow.as_ref().and_then(|f| f.source),
            "203.0.113.66/32".parse().ok()
        );
        assert_eq!(
            protect.follow(&all).await.expect("again"),
            Default::default()
        );
        let id = force[0].rule.id.clone();
        protect
            .lift(
                &By::user(house.officers[0].user),
                &OrgScope::All,
                &id,
                "false alarm",
            )
            .await
            .expect("lifted");
        assert_eq!(
            protect.follow(&all).await.expect("again").made,
            0,
            "what a person undid stays undone"
        );
        let followed = protect.follow(&[bad]).await.expect("followed");
        assert_eq!((followed.made, followed.lifted), (0, 1));
    })
    .await;
}
