//! The disk tier.

use std::sync::Arc;

use bytes::Bytes;

use super::filling::Filling;
use super::object::{FileBody, Object};
use crate::key::KeyHash;

#[derive(Debug)]
pub(super) enum Disk {}

#[derive(Debug)]
pub(super) enum Spill {}

impl Disk {
    pub(super) fn has_other(&self, _: KeyHash) -> bool {
        match *self {}
    }
    pub(super) fn spill(&self, _: &Arc<Object>, _: &Arc<Filling>) -> Option<Spill> {
        match *self {}
    }
    pub(super) fn write(&self, _: &Arc<Object>) {
        match *self {}
    }
    pub(super) fn forget(&self, _: &Object) {
        match *self {}
    }
    pub(super) fn forget_key(&self, _: KeyHash) {
        match *self {}
    }
    pub(super) fn largest_body(&self) -> u64 {
        match *self {}
    }
}

impl Spill {
    pub(super) fn write(&self, _: Bytes) {
        match *self {}
    }
    pub(super) fn failed(&self) -> bool {
        match *self {}
    }
    pub(super) fn body(&self, _: u64) -> Option<FileBody> {
        match *self {}
    }
    pub(super) fn seal(self, _: &Arc<Object>) {
        match self {}
    }
}
