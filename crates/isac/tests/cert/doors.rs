//! Every page and operation of this domain, asked by somebody of every role.

use web::testing::Walk;
use web::{Web, WebConfig};

use crate::house::house;

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_guarded_and_none_breaks() {
    let house = house(store::Backend::Sqlite).await;
    let rooms = vec![house.casework.room(), house.cert.room(&house.casework)];
    let web = Web::new(
        WebConfig::default(),
        (*house.db).clone(),
        house.db.vault(),
        rooms,
    )
    .expect("the rooms fit together");
    let walk = Walk::new(&web).await.expect("people").param("lang", "zh");
    let table = walk.table().await.expect("a table");
    assert!(!table.contains("=error"), "{table}");
    let line = |route: &str| {
        table
            .lines()
            .find(|line| line.starts_with(route))
            .unwrap_or_else(|| panic!("{route} is not in\n{table}"))
    };
    for (route, expected) in [
        (
            "GET /incidents [",
            "operator=yes officer=yes auditor=yes admin=yes editor=yes viewer=yes stranger=yes applicant=no anonymous=login",
        ),
        (
            "POST /incidents/{case}/forward [",
            "operator=no officer=yes auditor=no admin=no editor=no viewer=no stranger=no applicant=no anonymous=login",
        ),
        (
            "GET /articles [",
            "operator=no officer=yes auditor=no admin=no editor=no viewer=no stranger=no applicant=no anonymous=login",
        ),
        (
            "GET /open/{lang} [",
            "operator=yes officer=yes auditor=yes admin=yes editor=yes viewer=yes stranger=yes applicant=yes anonymous=yes",
        ),
        (
            "GET /citizens [",
            "operator=no officer=yes auditor=no admin=no editor=no viewer=no stranger=no applicant=no anonymous=login",
        ),
    ] {
        assert!(line(route).ends_with(expected), "{}", line(route));
    }
}
