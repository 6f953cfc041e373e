//! Identifiers with types, so that a site's id cannot be passed where a case's belongs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that is not an identifier of the kind named.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a {kind}: {rule}")]
pub struct InvalidId {
    /// What was expected, in words.
    pub kind: &'static str,
    /// What was given.
    pub text: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new identifier; later ones sort after earlier ones (UUIDv7, RFC 9562).
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text).map(Self).map_err(|_| InvalidId {
                    kind: $kind,
                    text: text.chars().take(80).collect(),
                    rule: "must be a UUID",
                })
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "format": "uuid", "description": $kind })
            }
        }
    };
}

uuid_id!(
    /// An organisation: the tenant to which sites, people and cases belong.
    OrgId,
    "organisation id"
);
uuid_id!(
    /// A person with a login.
    UserId,
    "user id"
);
uuid_id!(
    /// A public web site behind the CDN.
    SiteId,
    "site id"
);
uuid_id!(
    /// A case: one submission of a form and all that follows from it.
    CaseId,
    "case id"
);

uuid_id!(
    /// One enforcement: the reference that a refused user is shown.
    EnforcementId,
    "enforcement id"
);
uuid_id!(
    /// A member network of the exchange.
    MemberId,
    "member id"
);
uuid_id!(
    /// A port of a switch of the exchange.
    PortId,
    "port id"
);

/// The name of a node, unique in the network: 1 to 63 letters, digits and hyphens
/// in lower case, beginning and ending with a letter or digit (an RFC 1123 label).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct NodeName(String);

impl NodeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let bytes = text.as_bytes();
        let label = !bytes.is_empty()
            && bytes.len() <= 63
            && bytes
                .iter()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
            && bytes[0] != b'-'
            && bytes[bytes.len() - 1] != b'-';
        if label {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId {
                kind: "node name",
                text: text.chars().take(80).collect(),
                rule: "must be 1 to 63 of a-z, 0-9 and -, with no - at either end",
            })
        }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for NodeName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for NodeName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NodeName".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
            "description": "name of a node, unique in the network"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_are_dns_labels() {
        for good in ["edge-hsinchu", "a", "0", &"x".repeat(63)] {
            assert!(good.parse::<NodeName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "Edge", "a.b", "新竹", &"x".repeat(64)] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bad_id_names_the_thing_the_value_and_the_rule() {
        let error = "12".parse::<SiteId>().expect_err("not a UUID");
        assert_eq!(error.to_string(), "\"12\" is not a site id: must be a UUID");
    }
}
