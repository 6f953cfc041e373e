//! Cases on both databases, with mail and web hooks to real servers on loopback.

#[path = "it/delivery.rs"]
mod delivery;
#[path = "it/flow.rs"]
mod flow;
#[path = "it/house.rs"]
mod house;
#[path = "it/numbers.rs"]
mod numbers;
#[path = "it/posts.rs"]
mod posts;
