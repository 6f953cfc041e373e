//! Sites on both databases: from the form to what nodes obey.

#[path = "it/flow.rs"]
mod flow;
#[path = "it/home.rs"]
mod home;
#[path = "it/house.rs"]
mod house;
#[path = "it/pages.rs"]
mod pages;
#[path = "it/posts.rs"]
mod posts;
#[path = "it/sites.rs"]
mod sites;
