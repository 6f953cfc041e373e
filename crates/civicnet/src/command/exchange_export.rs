//! `civicnet exchange export`: the console's model as the members' document, for
//! `render` and `apply`.

use std::sync::Arc;

use casework::AccountPeople;
use exchange::room::{Exchange, Parts};

use crate::Verdict;
use crate::cli::Place;
use crate::command::control;

pub(crate) async fn run(place: &Place) -> anyhow::Result<Verdict> {
    let memory = control::open(&place.config).await?;
    let exchange = Exchange::new(Parts {
        db: memory.db.clone(),
        vault: memory.vault,
        people: Arc::new(AccountPeople::default()),
    });
    let now = memory.db.clock().now();
    let compiled = exchange.compile(now).await?;
    crate::out(&serde_json::to_string_pretty(&compiled.document)?)?;
    for (key, rule) in &compiled.problems {
        crate::complain(&format!("{key}: {rule}"));
    }
    memory.db.close().await;
    Ok(if compiled.problems.is_empty() {
        Verdict::Good
    } else {
        Verdict::NotInOrder
    })
}
