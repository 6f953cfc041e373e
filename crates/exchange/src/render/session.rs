//! One session of a route server, with what its router, its member and the policy say of it.

use std::net::IpAddr;

use super::session_name;
use crate::document::{Document, Member, Policy, Router, Secret, Site};

/// Prefixes taken from a member when neither it nor the policy says how many.
const MAX_PREFIX_DEFAULT: [u32; 2] = [250_000, 100_000];

/// What a session says of roles (RFC 9234).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing.
    None,
    /// That this is a route server.
    Announced,
    /// That, and it wants the member to say that it is a client.
    Required,
}

/// One BGP session of the route server.
pub(super) struct Session<'a> {
    site: &'a Site,
    pub(super) member: &'a Member,
    pub(super) router: &'a Router,
    pub(super) own: IpAddr,
    pub(super) peer: IpAddr,
    pub(super) v6: bool,
    /// The member's other routers come first.
    pub(super) stands_back: bool,
}

impl<'a> Session<'a> {
    /// The sessions of one member with the route server of `site`, by address.
    pub(super) fn of(
        document: &'a Document,
        site: &'a Site,
        member: &'a Member,
        v6: bool,
    ) -> Vec<Self> {
        let preferred = document.preferred_site(member.asn);
        let mut sessions: Vec<Self> = document
            .routers_at(site, member, v6)
            .filter_map(|router| Self::new(site, member, router, v6, preferred))
            .collect();
        sessions.sort_by_key(|session| session.peer);
        sessions
    }

    fn new(
        site: &'a Site,
        member: &'a Member,
        router: &'a Router,
        v6: bool,
        preferred: Option<&str>,
    ) -> Option<Self> {
        let (own, peer): (IpAddr, IpAddr) = if v6 {
            (site.address_v6?.into(), router.v6?.into())
        } else {
            (site.address_v4?.into(), router.v4?.into())
        };
        Some(Self {
            site,
            member,
            router,
            own,
            peer,
            v6,
            stands_back: preferred.is_some_and(|preferred| preferred != router.site),
        })
    }

    pub(super) fn name(&self) -> String {
        session_name(self.site, self.member, self.router, self.v6)
    }

    pub(super) fn role(&self, policy: &Policy) -> Role {
        let terms = self.router.terms(self.v6);
        match policy.roles {
            true if self.member.require_role => Role::Required,
            true if !terms.is_some_and(|terms| terms.no_role) => Role::Announced,
            _ => Role::None,
        }
    }

    pub(super) fn has_bfd(&self, policy: &Policy) -> bool {
        let terms = self.router.terms(self.v6);
        policy.bfd.is_some() && self.member.bfd && !terms.is_some_and(|terms| terms.no_bfd)
    }

    /// The secret of TCP MD5: the session's, the router's or the member's.
    pub(super) fn secret(&self) -> Option<&'a Secret> {
        self.router
            .terms(self.v6)
            .and_then(|terms| terms.password.as_ref())
            .or(self.router.password.as_ref())
            .or(self.member.password.as_ref())
    }

    pub(super) fn is_disabled(&self) -> bool {
        let terms = self.router.terms(self.v6);
        self.router.disabled || terms.is_some_and(|terms| terms.disabled)
    }

    pub(super) fn max_prefix(&self, policy: &Policy) -> u32 {
        let (own, general) = if self.v6 {
            (self.member.max_prefix.v6, policy.max_prefix.v6)
        } else {
            (self.member.max_prefix.v4, policy.max_prefix.v4)
        };
        self.router
            .terms(self.v6)
            .and_then(|terms| terms.max_prefix)
            .or(own)
            .or(general)
            .unwrap_or(MAX_PREFIX_DEFAULT[usize::from(self.v6)])
    }
}

/// A name that cannot end a comment or a string.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() || matches!(c, '"' | '\\') {
                ' '
            } else {
                c
            }
        })
        .collect()
}
