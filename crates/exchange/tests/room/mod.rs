//! The model, its rules, its history, its document, its files and its pages.

mod files;
mod house;
mod model;
mod pages;
mod traffic;
