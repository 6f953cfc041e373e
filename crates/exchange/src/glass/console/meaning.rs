//! Communities in words.

use web::Visit;

use crate::community::{
    BLACKHOLE, GRACEFUL_SHUTDOWN, IRR_FUNCTION, LargeCommunity, NO_EXPORT, NOT_TO_FUNCTION,
    PREPEND_FUNCTIONS, REASON_FUNCTION, RPKI_FUNCTION, Reason, TO_FUNCTION,
};

/// What a standard community means at a route server of AS `asn`, if anything.
pub(super) fn standard(visit: &Visit, asn: u32, [high, low]: [u32; 2]) -> Option<String> {
    let peer = low.to_string();
    let with_peer = |key: &str| visit.ta(key, &[("peer", &peer)]);
    let key = match (high, low) {
        pair if pair == BLACKHOLE => "glass-community-blackhole",
        pair if pair == GRACEFUL_SHUTDOWN => "glass-community-graceful-shutdown",
        pair if pair == NO_EXPORT => "glass-community-no-export",
        (65_535, 65_282) => "glass-community-no-advertise",
        (0, low) if low == asn => "glass-community-not-to-anybody",
        (0, _) => return Some(with_peer("glass-community-not-to")),
        (high, low) if high == asn && low == asn => "glass-community-to-everybody",
        (high, _) if high == asn => return Some(with_peer("glass-community-to")),
        _ => return None,
    };
    Some(visit.t(key))
}

/// What a large community means at a route server of AS `asn`, if anything.
pub(super) fn large(visit: &Visit, asn: u32, [first, second, third]: [u32; 3]) -> Option<String> {
    if first != asn || asn == 0 {
        return None;
    }
    let peer = third.to_string();
    let with_peer = |key: &str| visit.ta(key, &[("peer", &peer)]);
    let community = LargeCommunity(first, second, third);
    Some(match (second, third) {
        (REASON_FUNCTION, _) => {
            let found = Reason::among(asn, &[community]).next()?;
            return Some(visit.ta(
                "glass-community-refused",
                &[("reason", &reason(visit, found.key(), found.words()))],
            ));
        }
        (RPKI_FUNCTION, 1) => visit.t("glass-community-rpki-valid"),
        (RPKI_FUNCTION, 2) => visit.t("glass-community-rpki-not-found"),
        (RPKI_FUNCTION, 3) => visit.t("glass-community-rpki-off"),
        (IRR_FUNCTION, 1) => visit.t("glass-community-irr-registered"),
        (IRR_FUNCTION, 2) => visit.t("glass-community-irr-off"),
        (NOT_TO_FUNCTION, 0) => visit.t("glass-community-not-to-anybody"),
        (NOT_TO_FUNCTION, _) => with_peer("glass-community-not-to"),
        (TO_FUNCTION, 0) => visit.t("glass-community-to-everybody"),
        (TO_FUNCTION, _) => with_peer("glass-community-to"),
        (function, _) => {
            let times = PREPEND_FUNCTIONS.iter().position(|one| *one == function)? + 1;
            visit.ta(
                "glass-community-prepend",
                &[("times", &times.to_string()), ("peer", &peer)],
            )
        }
    })
}

/// A reason of refusal in the reader's language; `words` when there is no text for its key.
pub(super) fn reason(visit: &Visit, key: &str, words: &str) -> String {
    match Reason::ALL.iter().any(|reason| reason.key() == key) {
        true => visit.t(&format!("glass-reason-{key}")),
        false => words.to_owned(),
    }
}
