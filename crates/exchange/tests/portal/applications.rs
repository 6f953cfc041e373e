//! A network joins, changes and leaves.

use base::OrgId;
use casework::CaseError;
use casework::form::Text;
use exchange::manrs::{self, Shown};
use exchange::portal::config_text::{Vendor, text};
use exchange::room::states::{self, Seen, SeenState};
use exchange::room::{By, Kind, RoomError};
use serde_json::json;
use store::PageRequest;
use web::OrgScope;

use super::house::{House, join, object, on_both};

#[tokio::test]
async fn a_network_that_joins_gets_ports_addresses_and_sessions_in_one_step() {
    on_both(async |house: House| {
        let portal = &house.portal;
        let rules = Text::new("規則", "Rules");
        portal
            .write_document(
                &By::user(house.officers[0].user),
                "rules",
                &rules,
                &rules,
                true,
            )
            .await
            .expect("published");
        let case = house
            .submitted(&house.anna, house.north, "ix-join", join(64_501, "NORTH"))
            .await
            .expect("submitted");
        assert!(
            house.all(Kind::Member).await.is_empty(),
            "nothing before the grant"
        );
        house
            .act(&house.officers[0], case.id, "start-review")
            .await
            .expect("begun");
        house
            .act(&house.officers[0], case.id, "approve")
            .await
            .expect("approved");
        let alone = house.act(&house.officers[0], case.id, "grant").await;
        assert!(matches!(alone, Err(CaseError::Refused(_))), "four eyes");
        let case = house
            .act(&house.officers[1], case.id, "grant")
            .await
            .expect("granted");
        assert_eq!(
            case.result.expect("a result").path,
            "/peering/64501/configuration"
        );
        let own = OrgScope::Only(vec![house.north]);
        let reader = By::user(house.anna.user);
        let network = portal
            .network(&own, 64_501, Some(&reader))
            .await
            .expect("a member");
        assert_eq!(network.routers.len(), 2);
        assert_eq!(network.ports.len(), 3);
        assert!(
            network
                .ports
                .iter()
                .all(|port| port.text("state") == "reserved")
        );
        assert_eq!(network.lags.len(), 1);
        assert_eq!(
            network.sessions.len(),
            4,
            "v4 and v6 with the route server of each LAN"
        );
        assert_eq!(network.contacts.len(), 2);
        assert!(network.contacts.iter().any(|c| c.text("name") == "李大華"));
        let b1 = network
            .routers
            .iter()
            .find(|r| r.text("name") == "b1")
            .expect("b1");
        assert_eq!(
            b1.text("v4"),
            "203.0.1.2",
            "the next free address after the route server"
        );
        assert_eq!(b1.text("v6"), "2001:db8:1::2");
        assert_eq!(
            portal
                .accepted(house.north)
                .await
                .expect("read")
                .map(|(v, _)| v),
            Some(1)
        );
        // What the applicant configures holds all of it, and the secret only for its own.
        let shown = portal.plans(&network, true).await.expect("plans");
        let hidden = portal.plans(&network, false).await.expect("plans");
        let b1 = shown.iter().find(|plan| plan.name == "b1").expect("b1");
        assert_eq!((b1.links, b1.speed_mbps, b1.sessions.len()), (2, 10_000, 2));
        let secret = b1.sessions[0].password.clone().expect("a secret");
        assert_eq!(secret.len(), 32);
        for vendor in Vendor::ALL {
            let told = text(vendor, b1);
            for part in [
                "203.0.1.2/24",
                "203.0.1.1",
                "2001:db8:1::1",
                "64500",
                &secret,
            ] {
                assert!(told.contains(part), "{part}\n{told}");
            }
            assert!(
                hidden
                    .iter()
                    .all(|plan| !text(vendor, plan).contains(&secret))
            );
        }
        // Sessions show what the route server sees.
        let up = Seen {
            address: "203.0.1.2".parse().expect("an address"),
            state: SeenState::Up,
            since: case.updated_at,
            reason: String::new(),
            received: 7,
            accepted: 5,
            refused: 2,
            exported: 100,
        };
        states::report(&house.db, "rs1", "hsinchu", &[up])
            .await
            .expect("reported");
        let network = portal.network(&own, 64_501, None).await.expect("a member");
        assert_eq!(network.up(), (1, 4));
        assert!(
            network.contacts.iter().all(|c| c.text("name").is_empty()),
            "not opened"
        );
        // Opened once, for its own people: the trail says for whom and whose.
        let rows: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT actor, org, subject FROM audit_entry WHERE action = 'exchange.contact.read'",
        )
        .fetch_all(house.db.pool())
        .await
        .expect("read");
        let subject = format!("exchange-member:{}", network.member.id);
        let (actor, org) = (format!("user:{}", house.anna.user), house.north.to_string());
        assert_eq!(rows, [(actor, org, subject)]);
        let held = house
            .count("SELECT count(*) FROM audit_entry WHERE action = 'exchange.provision.ix-join'")
            .await;
        assert_eq!(held, 1);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_provisioned_is_told_when_it_is_asked() {
    on_both(async |house: House| {
        let told = async |change: &[(&str, serde_json::Value)]| {
            let mut values = join(64_501, "NORTH");
            for (name, value) in change {
                values.insert((*name).into(), value.clone());
            }
            match house
                .submitted(&house.anna, house.north, "ix-join", values)
                .await
            {
                Ok(_) => "accepted".to_owned(),
                Err(CaseError::Invalid(problems)) => {
                    let all: Vec<String> = problems
                        .iter()
                        .map(|p| format!("{}: {}", p.field, p.message.en))
                        .collect();
                    all.join("; ")
                }
                Err(error) => error.to_string(),
            }
        };
        let site = told(&[("router1_site", json!("taipei"))]).await;
        assert!(
            site.contains("\"taipei\" is no site") && site.contains("hsinchu, tainan"),
            "{site}"
        );
        let ports = told(&[("router1_links", json!(4))]).await;
        assert!(
            ports.contains("4 wanted, at most 3 on one switch"),
            "{ports}"
        );
        let half = told(&[("router2_name", json!(null))]).await;
        assert!(half.contains("router2_name"), "{half}");
        let twice = told(&[("router2_name", json!("b1"))]).await;
        assert!(twice.contains("must differ"), "{twice}");
        assert_eq!(told(&[]).await, "accepted");
        house
            .granted(&house.ben, house.south, "ix-join", {
                let mut values = join(64_501, "SOUTH");
                values.insert("router1_links".into(), json!(1));
                values
            })
            .await
            .expect("the first one granted has the number");
        let taken = told(&[]).await;
        assert!(taken.contains("AS64501 is a member already"), "{taken}");
        assert_eq!(house.count("SELECT count(*) FROM exchange_member").await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_grant_that_fails_half_way_leaves_nothing() {
    on_both(async |house: House| {
        let case = house
            .submitted(&house.anna, house.north, "ix-join", join(64_501, "NORTH"))
            .await
            .expect("submitted");
        house
            .act(&house.officers[0], case.id, "start-review")
            .await
            .expect("begun");
        house
            .act(&house.officers[0], case.id, "approve")
            .await
            .expect("approved");
        // Somebody takes the address for the MAC meanwhile.
        house
            .granted(&house.ben, house.south, "ix-join", {
                let mut values = join(64_502, "SOUTH");
                values.insert("router1_links".into(), json!(1));
                values
            })
            .await
            .expect("joined");
        let before = house
            .count("SELECT count(*) FROM exchange_port WHERE state = 'free'")
            .await;
        let failed = house.act(&house.officers[1], case.id, "grant").await;
        assert!(
            failed.is_err(),
            "two free 10G ports remain, the MAC is taken: {failed:?}"
        );
        assert_eq!(house.count("SELECT count(*) FROM exchange_member").await, 1);
        assert_eq!(
            house
                .count("SELECT count(*) FROM exchange_port WHERE state = 'free'")
                .await,
            before
        );
        let opened = house
            .casework
            .open(&house.anna, case.id)
            .await
            .expect("the case");
        assert_eq!(opened.case.state, "approved");
    })
    .await;
}

#[tokio::test]
async fn ports_sessions_and_contacts_change_and_a_network_leaves() {
    on_both(async |house: House| {
        house.two_members().await;
        let own = OrgScope::Only(vec![house.north]);
        let reader = By::user(house.anna.user);
        let grant = async |form: &str, values: serde_json::Value| {
            house.granted(&house.anna, house.north, form, object(values)).await
        };
        // Another member's network is not mine to change.
        let foreign = grant("ix-leave", json!({ "subject": "x x", "asn": 64_502, "last_day": "2026-12-01", "reason": "because", "confirm": true })).await;
        assert!(matches!(&foreign, Err(CaseError::Invalid(p)) if p[0].field == "asn"), "{foreign:?}");
        grant("ix-port", json!({ "subject": "faster", "asn": 64_501, "change": "change", "router": "b1", "site": "hsinchu", "speed": "100G", "links": 1, "reason": "more" })).await.expect("changed");
        let network = house.portal.network(&own, 64_501, Some(&reader)).await.expect("a member");
        let b1 = network.routers.iter().find(|r| r.text("name") == "b1").expect("b1");
        assert_eq!(b1.text("v4"), "203.0.1.2", "the address stays");
        assert!(b1.reference("lag").is_none() && b1.reference("port").is_some());
        assert!(network.lags.is_empty(), "the group is gone");
        assert_eq!(network.ports.len(), 2);
        grant("ix-port", json!({ "subject": "third", "asn": 64_501, "change": "new", "router": "b3", "site": "tainan", "speed": "10G", "links": 1, "reason": "more" })).await.expect("new");
        let network = house.portal.network(&own, 64_501, Some(&reader)).await.expect("a member");
        assert_eq!((network.routers.len(), network.sessions.len()), (3, 6));
        grant("ix-session", json!({ "subject": "with south", "asn": 64_501, "change": "new", "router": "b3", "with": "bilateral", "peer_asn": 64_502, "families": "ipv4", "bfd": true, "md5": "new" })).await.expect("a session");
        let network = house.portal.network(&own, 64_501, Some(&reader)).await.expect("a member");
        let bilateral = network.sessions.iter().find(|s| s.session.text("type") == "bilateral").expect("a session");
        assert_eq!(bilateral.asn, 64_502);
        grant("ix-session", json!({ "subject": "no more", "asn": 64_501, "change": "end", "router": "b3", "with": "route-server", "families": "ipv6", "md5": "keep" })).await.expect("ended");
        grant("ix-contact", json!({ "subject": "new one", "asn": 64_501, "change": "set", "role": "technical", "contact_name": "林新人", "contact_email": "new@net.example" })).await.expect("set");
        let network = house.portal.network(&own, 64_501, Some(&reader)).await.expect("a member");
        assert_eq!(network.sessions.len(), 6);
        let technical: Vec<&str> = network.contacts.iter().filter(|c| c.text("role") == "technical").map(|c| c.text("name")).collect();
        assert_eq!(technical, ["林新人"]);
        let no = grant("ix-contact", json!({ "subject": "none", "asn": 64_501, "change": "end", "role": "technical" })).await;
        assert!(no.is_err(), "the technical contact stays");
        grant("ix-port", json!({ "subject": "end it", "asn": 64_501, "change": "end", "router": "b3", "reason": "enough" })).await.expect("ended");
        let network = house.portal.network(&own, 64_501, Some(&reader)).await.expect("a member");
        assert_eq!((network.routers.len(), network.sessions.len()), (2, 4));
        grant("ix-leave", json!({ "subject": "we leave", "asn": 64_501, "last_day": "2026-12-01", "reason": "because", "confirm": true })).await.expect("left");
        let network = house.portal.network(&own, 64_501, Some(&reader)).await.expect("still in the books");
        assert_eq!(network.member.text("state"), "left");
        assert!(network.routers.is_empty() && network.ports.is_empty() && network.contacts.is_empty());
        let free = house.count("SELECT count(*) FROM exchange_port WHERE state = 'free' AND deleted_at IS NULL").await;
        assert_eq!(free, 8, "ten ports, two of the other member");
    })
    .await;
}

#[tokio::test]
async fn nobody_sees_another_organisations_network() {
    on_both(async |house: House| {
        house.two_members().await;
        let north = OrgScope::Only(vec![house.north]);
        let foreign = house.portal.network(&north, 64_502, None).await;
        assert!(matches!(foreign, Err(RoomError::NotFound { .. })));
        let nobody = OrgScope::Only(vec![]);
        let stranger = OrgScope::Only(vec![OrgId::generate()]);
        for (scope, count) in [(north, 1), (nobody, 0), (stranger, 0), (OrgScope::All, 2)] {
            let page = house
                .portal
                .networks(&scope, &PageRequest::first(10))
                .await
                .expect("a page");
            assert_eq!(page.items.len(), count, "{scope:?}");
        }
        let first = house
            .portal
            .networks(&OrgScope::All, &PageRequest::first(1))
            .await
            .expect("a page");
        assert_eq!(first.items[0].asn, 64_501);
        assert!(first.next.is_some());
    })
    .await;
}

#[tokio::test]
async fn rules_are_versions_and_manrs_counts_what_is_there() {
    on_both(async |house: House| {
        let portal = &house.portal;
        let officer = By::user(house.officers[0].user);
        let text = |n: u32| Text::new(format!("規則 {n}"), format!("Rules {n}"));
        let facts = manrs::facts::gather(&house.exchange)
            .await
            .expect("counted");
        assert_eq!(
            (facts.members, facts.sites_active, facts.rules_published),
            (0, 2, false)
        );
        portal
            .write_document(&officer, "rules", &text(1), &text(1), true)
            .await
            .expect("1");
        portal
            .write_document(&officer, "rules", &text(2), &text(2), false)
            .await
            .expect("2");
        let read = portal
            .document("rules", None, false)
            .await
            .expect("published");
        assert_eq!((read.version, read.title.en.as_str()), (1, "Rules 1"));
        assert!(
            portal.document("rules", Some(2), false).await.is_err(),
            "a draft"
        );
        house.two_members().await;
        let taken = portal.publish_document(&officer, "rules", 1, false).await;
        assert!(
            matches!(taken, Err(RoomError::Refused(_))),
            "accepted versions stay"
        );
        portal
            .publish_document(&officer, "rules", 2, true)
            .await
            .expect("published");
        assert_eq!(
            portal
                .document("rules", None, false)
                .await
                .expect("read")
                .version,
            2
        );
        let bad = portal
            .write_document(&officer, "Rules!", &text(1), &Text::new("", ""), true)
            .await;
        assert!(
            matches!(&bad, Err(RoomError::Invalid(p)) if p.len() == 3),
            "{bad:?}"
        );
        let facts = manrs::facts::gather(&house.exchange)
            .await
            .expect("counted");
        assert_eq!(
            (
                facts.members,
                facts.members_accepted,
                facts.members_with_space
            ),
            (2, 2, 2)
        );
        assert_eq!((facts.contacts, facts.contacts_fresh), (4, 4));
        assert_eq!((facts.routers, facts.routers_with_mac), (4, 2));
        assert_eq!((facts.sessions_wanted, facts.sessions_with_secret), (8, 8));
        let actions = manrs::assess(&facts);
        assert_eq!(
            actions[1].shown,
            Shown::Partly,
            "no document about MANRS yet"
        );
        portal
            .write_document(&officer, "manrs", &text(1), &text(1), true)
            .await
            .expect("manrs");
        let facts = manrs::facts::gather(&house.exchange)
            .await
            .expect("counted");
        assert_eq!(manrs::assess(&facts)[1].shown, Shown::Yes);
    })
    .await;
}
