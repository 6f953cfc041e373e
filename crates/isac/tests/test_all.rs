//! The tests of this crate that need a database or a server.

#[path = "cert/alerts.rs"]
mod alerts;
#[path = "it/beliefs.rs"]
mod beliefs;
#[path = "it/credit.rs"]
mod credit;
#[path = "it/disbelief.rs"]
mod disbelief;
#[path = "cert/doors.rs"]
mod doors;
#[path = "it/enforcements.rs"]
mod enforcements;
#[path = "cert/forms.rs"]
mod forms;
#[path = "cert/handover.rs"]
mod handover;
#[path = "cert/house.rs"]
mod house;
#[path = "it/kept_back.rs"]
mod kept_back;
#[path = "it/lists.rs"]
mod lists;
#[path = "cert/numbers.rs"]
mod numbers;
#[path = "it/objects.rs"]
mod objects;
#[path = "it/pages.rs"]
mod pages;
#[path = "it/peers.rs"]
mod peers;
#[path = "it/proofs.rs"]
mod proofs;
#[path = "cert/relay.rs"]
mod relay;
#[path = "cert/reports.rs"]
mod reports;
#[path = "it/reviews.rs"]
mod reviews;
#[path = "it/search.rs"]
mod search;
#[path = "it/separation.rs"]
mod separation;
#[path = "it/server.rs"]
mod server;
#[path = "it/sharing.rs"]
mod sharing;
#[path = "it/theirs.rs"]
mod theirs;
#[path = "it/words.rs"]
mod words;
