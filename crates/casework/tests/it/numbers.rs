//! Numbers of cases tell nothing of how many cases others have, on both databases.

use std::collections::BTreeSet;

use casework::{CaseNumber, CaseworkConfig, Filter, Who};
use store::PageRequest;

use crate::house::{House, house, on_both, whole};

/// Cases that each of two organisations begins.
const EACH: usize = 12;

async fn begun(house: &House, who: &Who) -> CaseNumber {
    let casework::OrgScope::Only(orgs) = &who.applies else {
        panic!("a member");
    };
    let draft = house
        .casework
        .start(who, "sample", orgs.first().copied(), whole(), None)
        .await
        .expect("a draft");
    draft.number
}

/// Numbers in the order of the list, page by page.
async fn listed(house: &House, who: &Who) -> Vec<CaseNumber> {
    let mut request = PageRequest::first(5);
    let mut numbers = Vec::new();
    loop {
        let page = house
            .casework
            .list(who, &Filter::default(), &request)
            .await
            .expect("a page");
        numbers.extend(page.items.iter().map(|case| case.number));
        match page.next {
            Some(next) => request.cursor = Some(next),
            None => return numbers,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_cannot_count_the_cases_of_others_by_its_own_numbers() {
    on_both(CaseworkConfig::default, async |house| {
        let mut mine = Vec::new();
        let mut all = BTreeSet::new();
        for _ in 0..EACH {
            let number = begun(&house, &house.applicant).await;
            mine.push(number);
            all.insert(number);
            all.insert(begun(&house, &house.stranger).await);
        }
        assert_eq!(all.len(), 2 * EACH, "each has its own");
        for number in &all {
            let said = number.to_string();
            assert_eq!(said.len(), 11, "{said}");
            assert_eq!(said.parse(), Ok(*number), "{said}");
        }
        // Numbers that were counted, whatever the step, would stand in order.
        assert!(!mine.is_sorted(), "{mine:?}");
        let steps: BTreeSet<i64> = mine
            .windows(2)
            .map(|two| two[1].get() - two[0].get())
            .collect();
        assert_eq!(steps.len(), EACH - 1, "{mine:?}");
        // The list shows the newest first all the same, across pages.
        mine.reverse();
        assert_eq!(listed(&house, &house.applicant).await, mine);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_is_found_by_its_number_by_those_who_may_see_it() {
    on_both(CaseworkConfig::default, async |house| {
        let case = house.submitted().await;
        let find = async |who: &Who, number: CaseNumber| -> usize {
            let filter = Filter {
                number: Some(number),
                ..Filter::default()
            };
            let page = house
                .casework
                .list(who, &filter, &PageRequest::default())
                .await
                .expect("a page");
            assert!(page.items.iter().all(|found| found.id == case.id));
            page.items.len()
        };
        assert_eq!(find(&house.officers[0], case.number).await, 1);
        assert_eq!(find(&house.applicant, case.number).await, 1);
        assert_eq!(find(&house.stranger, case.number).await, 0);
        assert_eq!(find(&house.officers[0], CaseNumber::new(1)).await, 0);
        // A number from before is good for ever.
        let mut tx = house.db.begin().await.expect("a transaction");
        sqlx::query("UPDATE casework_case SET number = 17 WHERE id = $1")
            .bind(case.id.to_string())
            .execute(&mut *tx)
            .await
            .expect("a row");
        tx.commit().await.expect("kept");
        let old: CaseNumber = "#17".parse().expect("a number");
        assert_eq!(find(&house.officers[0], old).await, 1);
        let letters = house
            .casework
            .inbox(house.officers[0].user, &PageRequest::default())
            .await
            .expect("letters");
        assert!(letters.items[0].text.en.contains("#17 "), "{letters:?}");
    })
    .await;
}

/// A house that counted goes on: what it has stays, and stands in order.
#[tokio::test(flavor = "multi_thread")]
async fn cases_from_before_keep_number_and_place() {
    let house = house(store::Backend::Sqlite, CaseworkConfig::default()).await;
    let mut expected = Vec::new();
    for number in 1..=3_i64 {
        let drawn = begun(&house, &house.applicant).await;
        let mut tx = house.db.begin().await.expect("a transaction");
        sqlx::query("UPDATE casework_case SET number = $1 WHERE number = $2")
            .bind(number)
            .bind(drawn.get())
            .execute(&mut *tx)
            .await
            .expect("a row");
        tx.commit().await.expect("kept");
        expected.push(CaseNumber::new(number));
    }
    expected.push(begun(&house, &house.applicant).await);
    expected.reverse();
    assert_eq!(listed(&house, &house.applicant).await, expected);
}
