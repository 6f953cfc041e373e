//! The looking glass in the console: pages for everybody, more for members and officers, and the API.
//!
//! The console holds no routes. Each question goes to the agent of the site, by a [`Doors`] that the
//! binary provides; an agent that does not answer is said so, beside those that do.

mod desk;
mod meaning;
mod member;
mod pages;
mod parts;
mod rest;
mod room;

pub use desk::{AskError, Desk, Door, Doors};
pub use room::{LOCALES, POLICY, room};
