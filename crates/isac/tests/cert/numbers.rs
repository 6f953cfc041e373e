//! Reports and alerts of others do not show in the numbers, cursors and letters of a member.

use casework::CaseNumber;
use casework::form::Values;
use isac::report::{FORM, incidents::Filter};
use serde_json::json;
use store::PageRequest;
use web::OrgScope;

use crate::alerts::{alert, published};
use crate::house::{House, on_both, report};

/// What a member can know of numbers: those of its incidents, of alerts to it, and what letters
/// and cursors say.
struct Known {
    incidents: Vec<CaseNumber>,
    alerts: Vec<CaseNumber>,
    cursors: Vec<String>,
    letters: Vec<String>,
}

async fn known(house: &House) -> Known {
    let scope = OrgScope::Only(vec![house.water]);
    let mut out = Known {
        incidents: Vec::new(),
        alerts: Vec::new(),
        cursors: Vec::new(),
        letters: house.letters(&house.plumber).await,
    };
    let mut request = PageRequest::first(1);
    loop {
        let page = house
            .cert
            .incidents(&scope, &Filter::default(), &request)
            .await
            .expect("a page");
        out.incidents
            .extend(page.items.iter().map(|one| one.number));
        let Some(next) = page.next else { break };
        out.cursors.push(next.clone());
        request.cursor = Some(next);
    }
    let mut request = PageRequest::first(1);
    loop {
        let page = house.cert.alerts(&scope, &request).await.expect("a page");
        out.alerts.extend(page.items.iter().map(|one| one.number));
        let Some(next) = page.next else { break };
        out.cursors.push(next.clone());
        request.cursor = Some(next);
    }
    out
}

async fn reports(
    house: &House,
    who: &casework::Who,
    org: base::OrgId,
    values: Values,
) -> CaseNumber {
    let draft = house
        .casework
        .start(who, FORM, Some(org), values, None)
        .await
        .expect("a draft");
    let case = house.act(who, draft.id, "submit").await.expect("submitted");
    case.number
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_report_and_are_told_does_not_show_in_a_members_numbers() {
    on_both(async |house| {
        let (mut incidents, mut alerts, mut hidden) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..4 {
            incidents.push(reports(&house, &house.plumber, house.water, report(2)).await);
            for _ in 0..2 {
                let other = reports(&house, &house.electrician, house.power, report(3)).await;
                hidden.push(other);
            }
            let case = published(&house, alert(json!({"public": false}))).await;
            let found = house.cert.alert(&OrgScope::All, case).await;
            alerts.push(found.expect("published").number);
            let to_power = json!({"public": false, "sector_water": false, "sector_energy": true, "products": []});
            let case = published(&house, alert(to_power)).await;
            let found = house.cert.alert(&OrgScope::All, case).await;
            hidden.push(found.expect("published").number);
        }
        let known = known(&house).await;
        // The newest first, whatever the numbers.
        incidents.reverse();
        alerts.reverse();
        assert_eq!(known.incidents, incidents);
        assert_eq!(known.alerts, alerts);
        let mut all = [incidents, alerts, hidden.clone()].concat();
        let count = all.len();
        assert!(all.iter().all(|number| number.get() > 99_999_999));
        assert!(!all.is_sorted(), "{all:?}");
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count, "each has its own");
        let told = [known.cursors, known.letters].concat().join("\n");
        for number in hidden {
            assert!(!told.contains(&number.to_string()), "{number} in {told}");
            assert!(!told.contains(&number.get().to_string()), "{number} in {told}");
        }
    })
    .await;
}
