//! Names under which registries let anybody register: whoever has a name there is not named by
//! them. Pure.
//!
//! The list of Taiwan's registry is whole; of other countries those labels count that nearly
//! all of them use. A name of one label is a top-level domain.

/// What registries of countries (two letters) call what anybody may register under.
const SECOND_LEVELS: [&str; 29] = [
    "ac", "asn", "biz", "co", "com", "ed", "edu", "firm", "gen", "go", "gob", "gouv", "gov",
    "govt", "gub", "id", "idv", "info", "ltd", "mil", "ne", "net", "nom", "or", "org", "plc",
    "pro", "sch", "web",
];
/// Further ones of Taiwan's registry, those in Chinese (網路, 組織, 商業) as resolvers ask for
/// them.
const OF_TW: [&str; 7] = [
    "club",
    "ebiz",
    "game",
    "url",
    "xn--czrw28b",
    "xn--uc0atv",
    "xn--zf0ao64a",
];
/// 台灣 and 台湾, under which names stand as under `tw`.
const TAIWAN: [&str; 2] = ["xn--kprw13d", "xn--kpry57d"];

/// Whether anybody may register names under `name`, which is in ASCII and lower case.
pub(crate) fn is_suffix(name: &str) -> bool {
    let Some((label, top)) = name.split_once('.') else {
        return true;
    };
    let of_a_country = top.len() == 2 || TAIWAN.contains(&top);
    let of_taiwan = top == "tw" || TAIWAN.contains(&top);
    of_a_country && SECOND_LEVELS.contains(&label) || of_taiwan && OF_TW.contains(&label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_told_from_those_who_register() {
        for name in [
            "tw",
            "gov.tw",
            "edu.tw",
            "com.tw",
            "net.tw",
            "org.tw",
            "idv.tw",
            "game.tw",
            "ebiz.tw",
            "club.tw",
            "mil.tw",
            "xn--zf0ao64a.tw",
            "com.xn--kpry57d",
            "co.uk",
            "co.jp",
            "go.jp",
            "com",
            "xn--kpry57d",
        ] {
            assert!(is_suffix(name), "{name}");
        }
        for name in [
            "moda.gov.tw",
            "google.com",
            "co.example",
            "gov.test",
            "evil.tw",
            "xn--xmq.xn--kpry57d",
            "club.jp",
        ] {
            assert!(!is_suffix(name), "{name}");
        }
    }
}
