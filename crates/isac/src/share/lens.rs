//! What an audience gets to see of an object: the policy's verdict, and the object with
//! everything left out that would tell who a source is. Pure.
//!
//! An identity that is not open is replaced by a pseudonym: an id made by HMAC from the
//! house's key, the audience and the identity, so that one audience always meets the
//! same one, and two audiences cannot compare notes. References to it follow. Custom
//! properties and extensions that are not known to be harmless go, and so do markings
//! that are neither TLP nor open. Names of members in free text give way to the
//! pseudonym's.
//!
//! What comes out is checked again; what would no longer be good STIX stays.

use std::borrow::Cow;
use std::collections::HashMap;

use base::OrgId;
use ring::hmac;
use serde_json::{Map, Value, json};

use super::policy::{CONSENT_LABEL, Facts, Names, Policy, Tier};
use crate::objects::{Row, Via};
use crate::stix::{Tlp, check, json as reader};

/// Depth to which values are cleaned; deeper ones are left out by the reader already.
const DEPTH_MAX: u32 = 70;
/// Properties whose text may name somebody.
const TEXTS: [&str; 13] = [
    "name",
    "description",
    "abstract",
    "content",
    "explanation",
    "authors",
    "contact_information",
    "labels",
    "roles",
    "goals",
    "objective",
    "source_name",
    "statement",
];
/// The extension by which markings of TLP 2.0 are defined.
const TLP_EXTENSION: &str = "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9bb88";
/// Moments that pseudonyms carry, so that they tell nothing of their own but how many
/// houses have changed the name: the last digit.
const TIMELESS: [&str; 6] = [
    "2020-01-01T00:00:00.000Z",
    "2020-01-01T00:00:00.001Z",
    "2020-01-01T00:00:00.002Z",
    "2020-01-01T00:00:00.003Z",
    "2020-01-01T00:00:00.004Z",
    "2020-01-01T00:00:00.005Z",
];

/// How far an organisation consents that what it sends is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consents {
    /// To the tier above and to houses beside.
    pub up: bool,
    /// To the tier below and to other members.
    pub down: bool,
}

impl Consents {
    const fn to(self, tier: Tier) -> bool {
        match tier {
            Tier::Up | Tier::Level => self.up,
            Tier::Down | Tier::Member => self.down,
        }
    }

    fn from_label(label: &str) -> Option<Self> {
        let (up, down) = match label.strip_prefix(CONSENT_LABEL)? {
            "none" => (false, false),
            "up" => (true, false),
            "down" => (false, true),
            "all" => (true, true),
            _ => return None,
        };
        Some(Self { up, down })
    }
}

/// Everything that decides what one audience sees. Cheap to make anew for each page.
#[derive(Debug, Clone)]
pub struct Lens {
    /// Where the audience stands.
    pub tier: Tier,
    /// Names the audience: a peer's name, or an organisation's id.
    pub audience: String,
    /// The organisation that the audience is, whose own objects it sees as they are.
    pub own: Option<OrgId>,
    /// The house that the audience is: what was fetched from it is not sent back, or names
    /// would change at every turn, for ever.
    pub there: Option<Via>,
    /// The policy.
    pub policy: std::sync::Arc<Policy>,
    /// Its version.
    pub version: i64,
    pub(super) key: hmac::Key,
    /// What sources said about consent.
    pub(super) consents: std::sync::Arc<HashMap<OrgId, Consents>>,
    /// Names of members, the longest first, and the organisation of each.
    pub(super) members: std::sync::Arc<Vec<(String, OrgId)>>,
    /// Names of those who made the objects that are looked at, by id.
    pub(super) identities: HashMap<String, String>,
}

/// What an audience gets of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<'a> {
    /// This.
    Whole(Cow<'a, str>),
    /// Nothing.
    Withheld {
        /// The rule that says so; `None`: no rule lets it pass, or it cannot be cleaned.
        rule: Option<String>,
        /// Why, in English, for previews and logs.
        why: String,
    },
}

impl Lens {
    /// What the audience gets of the object `text`, which came from `source`.
    pub fn look<'a>(&self, text: &'a str, source: Option<OrgId>) -> Seen<'a> {
        if self.own.is_some() && self.own == source {
            return Seen::Whole(Cow::Borrowed(text));
        }
        let stays = |rule: Option<&str>, why: &str| Seen::Withheld {
            rule: rule.map(str::to_owned),
            why: why.to_owned(),
        };
        let Ok(node) = reader::parse(text.as_bytes()) else {
            return stays(None, "it cannot be read");
        };
        let facts = self.facts(&node, source);
        let verdict = self.policy.decide(self.tier, &self.audience, &facts);
        if !verdict.passes {
            let why = verdict.rule.unwrap_or("no rule lets it pass");
            return stays(verdict.rule, why);
        }
        if self.policy.names(self.tier) == Names::Keep {
            return Seen::Whole(Cow::Borrowed(text));
        }
        if facts.kind == "marking-definition"
            && !self.marking_goes(node.text_of("id").unwrap_or_default())
        {
            return stays(verdict.rule, "the marking is neither TLP nor open");
        }
        let Ok(Value::Object(mut object)) = serde_json::from_str(text) else {
            return stays(None, "it cannot be read");
        };
        match self.clean(&mut object) {
            Cleaned::Same => Seen::Whole(Cow::Borrowed(text)),
            Cleaned::Nothing => stays(verdict.rule, "names are left out for this audience"),
            Cleaned::Changed => {
                let text = Value::Object(object).to_string();
                let good = reader::parse(text.as_bytes()).is_ok_and(|node| check(&node).is_ok());
                match good {
                    true => Seen::Whole(Cow::Owned(text)),
                    false => stays(verdict.rule, "without names it would be no good STIX"),
                }
            }
        }
    }

    /// Whether the policy lets the audience see the object `text`, which came from `source`.
    pub fn goes(&self, text: &str, source: Option<OrgId>) -> bool {
        if self.own.is_some() && self.own == source {
            return true;
        }
        reader::parse(text.as_bytes()).is_ok_and(|node| {
            let facts = self.facts(&node, source);
            let verdict = self.policy.decide(self.tier, &self.audience, &facts);
            verdict.passes
        })
    }

    /// What the policy looks at.
    fn facts<'a>(&self, node: &'a reader::Node<'_>, source: Option<OrgId>) -> Facts<'a> {
        let labels: Vec<&str> = node
            .get("labels")
            .and_then(reader::Node::list)
            .unwrap_or_default()
            .iter()
            .filter_map(reader::Node::text)
            .collect();
        let said = labels.iter().find_map(|label| Consents::from_label(label));
        let of_source = source.and_then(|org| self.consents.get(&org).copied());
        let unstated = self.policy.consent_unstated;
        let consents = said.or(of_source).unwrap_or(Consents {
            up: unstated,
            down: unstated,
        });
        Facts {
            kind: node.text_of("type").unwrap_or_default(),
            tlp: Tlp::of_object(node),
            labels,
            consent: consents.to(self.tier),
        }
    }

    /// Whether the audience is where `row` was fetched from.
    pub fn came_from(&self, row: &Row) -> bool {
        row.via.is_some() && row.via == self.there
    }

    /// The id under which the audience knows `identity`.
    pub fn pseudonym(&self, identity: &str) -> String {
        if self.is_open(identity) {
            return identity.to_owned();
        }
        let tag = self.tag(identity);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&tag.as_ref()[..16]);
        let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
        format!("identity--{id}")
    }

    /// The id under which the audience knows the object `id` from `source`.
    pub fn id<'a>(&self, id: &'a str, source: Option<OrgId>) -> Cow<'a, str> {
        let hidden = id.starts_with("identity--")
            && self.policy.names(self.tier) != Names::Keep
            && !(self.own.is_some() && self.own == source);
        match hidden {
            true => Cow::Owned(self.pseudonym(id)),
            false => Cow::Borrowed(id),
        }
    }

    fn tag(&self, identity: &str) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(self.audience.as_bytes());
        context.update(&[0]);
        context.update(identity.as_bytes());
        context.sign()
    }

    fn is_open(&self, id: &str) -> bool {
        self.policy.open.iter().any(|open| open == id)
    }

    fn marking_goes(&self, id: &str) -> bool {
        Tlp::of_marking(id).is_some() || self.is_open(id)
    }

    fn clean(&self, object: &mut Map<String, Value>) -> Cleaned {
        let kind = object.get("type").and_then(Value::as_str);
        let id = object.get("id").and_then(Value::as_str).unwrap_or_default();
        let drop = self.policy.names(self.tier) == Names::Drop;
        if kind == Some("identity") {
            if self.is_open(id) {
                return Cleaned::Same;
            }
            if drop {
                return Cleaned::Nothing;
            }
            // Houses that stand in a ring would change a name for ever.
            let turns = turns_of(object, id);
            let Some(moment) = TIMELESS.get(turns) else {
                return Cleaned::Nothing;
            };
            let id = self.pseudonym(id);
            let mut made = json!({
                "type": "identity", "spec_version": "2.1", "created": moment, "modified": moment,
                "name": label_of(&id), "identity_class": "organization", "id": id,
            });
            if let Some(sectors) = object.get("sectors") {
                made["sectors"] = sectors.clone();
            }
            if let Value::Object(made) = made {
                *object = made;
            }
            return Cleaned::Changed;
        }
        // Whoever made it is not named in it either.
        let author = object
            .get("created_by_ref")
            .and_then(Value::as_str)
            .filter(|id| !self.is_open(id))
            .and_then(|id| {
                let name = self.identities.get(id)?;
                Some((name.as_str(), label_of(&self.pseudonym(id))))
            });
        let mut changed = self.custom(object);
        changed |= self.markings(object);
        changed |= self.references(object, drop);
        for (name, value) in object.iter_mut() {
            changed |= self.texts(name, value, author.as_ref(), 0);
        }
        // A list of nothing is no good STIX.
        if object
            .get("labels")
            .and_then(Value::as_array)
            .is_some_and(Vec::is_empty)
        {
            object.remove("labels");
        }
        match changed {
            true => Cleaned::Changed,
            false => Cleaned::Same,
        }
    }

    /// Leaves out custom properties and extensions.
    fn custom(&self, object: &mut Map<String, Value>) -> bool {
        let before = object.len();
        object.retain(|name, _| {
            !name.starts_with("x_")
                || self
                    .policy
                    .custom_keep
                    .iter()
                    .any(|kept| name.starts_with(kept.as_str()))
        });
        let mut changed = object.len() != before;
        if let Some(Value::Object(extensions)) = object.get_mut("extensions") {
            let before = extensions.len();
            extensions.retain(|name, _| {
                !name.starts_with("extension-definition--")
                    || name == TLP_EXTENSION
                    || self.is_open(name)
            });
            changed |= extensions.len() != before;
            if extensions.is_empty() {
                object.remove("extensions");
            }
        }
        changed
    }

    fn markings(&self, object: &mut Map<String, Value>) -> bool {
        let mut changed = false;
        let mut keep = |name: &str, goes: &dyn Fn(&Value) -> bool| {
            if let Some(Value::Array(list)) = object.get_mut(name) {
                let before = list.len();
                list.retain(goes);
                changed |= list.len() != before;
                if list.is_empty() {
                    object.remove(name);
                }
            }
        };
        keep("object_marking_refs", &|id| {
            id.as_str().is_some_and(|id| self.marking_goes(id))
        });
        keep("granular_markings", &|part| {
            part["marking_ref"]
                .as_str()
                .is_none_or(|id| self.marking_goes(id))
        });
        changed
    }

    /// References to identities become references to pseudonyms, or go.
    fn references(&self, object: &mut Map<String, Value>, drop: bool) -> bool {
        let mut changed = false;
        let mut gone = Vec::new();
        for (name, value) in object.iter_mut() {
            let hidden = |value: &Value| -> bool {
                value
                    .as_str()
                    .is_some_and(|id| id.starts_with("identity--") && !self.is_open(id))
            };
            if name.ends_with("_ref") && hidden(value) {
                changed = true;
                match drop {
                    true => gone.push(name.clone()),
                    false => *value = self.pseudonym(value.as_str().unwrap_or_default()).into(),
                }
            } else if name.ends_with("_refs")
                && let Value::Array(list) = value
            {
                if drop {
                    let before = list.len();
                    list.retain(|value| !hidden(value));
                    changed |= list.len() != before;
                    if list.is_empty() {
                        gone.push(name.clone());
                    }
                } else {
                    for value in list.iter_mut().filter(|value| hidden(value)) {
                        *value = self.pseudonym(value.as_str().unwrap_or_default()).into();
                        changed = true;
                    }
                }
            }
        }
        for name in gone {
            object.remove(&name);
        }
        changed
    }

    /// Names of members in texts, and the consent label, which is the source's own affair.
    fn texts(
        &self,
        name: &str,
        value: &mut Value,
        author: Option<&(&str, String)>,
        depth: u32,
    ) -> bool {
        if depth > DEPTH_MAX {
            return false;
        }
        match value {
            Value::String(text) if TEXTS.contains(&name) => {
                let mut changed = false;
                if let Some((name, label)) = author
                    && text.contains(name)
                {
                    *text = text.replace(name, label);
                    changed = true;
                }
                for (member, org) in self.members.iter() {
                    if text.contains(member.as_str()) {
                        let id = self.pseudonym(&format!("org--{org}"));
                        *text = text.replace(member.as_str(), &label_of(&id));
                        changed = true;
                    }
                }
                changed
            }
            Value::Array(list) => {
                let before = list.len();
                if name == "labels" {
                    list.retain(|label| {
                        !label
                            .as_str()
                            .is_some_and(|label| label.starts_with(CONSENT_LABEL))
                    });
                }
                let mut changed = list.len() != before;
                for value in list.iter_mut() {
                    changed |= self.texts(name, value, author, depth + 1);
                }
                changed
            }
            Value::Object(object) => {
                let mut changed = false;
                for (name, value) in object.iter_mut() {
                    changed |= self.texts(name, value, author, depth + 1);
                }
                changed
            }
            _ => false,
        }
    }
}

enum Cleaned {
    Same,
    Changed,
    Nothing,
}

/// How many houses have changed the name of the identity `id`; 0: it is no pseudonym.
fn turns_of(object: &Map<String, Value>, id: &str) -> usize {
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    let made = text("name") == Some(label_of(id).as_str());
    let at = TIMELESS
        .iter()
        .position(|moment| text("created") == Some(*moment));
    match at {
        Some(at) if made => at + 1,
        _ => 0,
    }
}

/// What people call the bearer of a pseudonym.
fn label_of(id: &str) -> String {
    let digits: String = id
        .rsplit("--")
        .next()
        .unwrap_or_default()
        .chars()
        .take(6)
        .collect();
    format!("會員 Member {}", digits.to_uppercase())
}

/// A new key for pseudonyms.
pub(super) fn key_of(bytes: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, bytes)
}

/// The organisation as an identity of STIX, the same each time.
pub fn identity_of(org: OrgId) -> String {
    format!("identity--{}", org.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use uuid::Uuid;

    fn lens(audience: &str, tier: Tier) -> Lens {
        let org = OrgId(Uuid::from_u128(7));
        Lens {
            tier,
            audience: audience.to_owned(),
            own: None,
            there: None,
            policy: Arc::new(Policy::built_in().expect("a document")),
            version: 0,
            key: key_of(b"0123456789abcdef0123456789abcdef"),
            consents: Arc::new(HashMap::from([(
                org,
                Consents {
                    up: true,
                    down: false,
                },
            )])),
            members: Arc::new(vec![("臺灣自來水公司".to_owned(), org)]),
            identities: HashMap::from([(WATER.to_owned(), "北水處".to_owned())]),
        }
    }

    fn indicator(more: Value) -> String {
        let mut object = json!({
            "type": "indicator", "spec_version": "2.1", "id": "indicator--00000000-0000-4000-8000-000000000001",
            "created": "2026-01-01T00:00:00.000Z", "modified": "2026-01-01T00:00:00.000Z", "pattern": "[url:value = 'http://a/']",
            "pattern_type": "stix", "valid_from": "2026-01-01T00:00:00Z",
        });
        for (name, value) in more.as_object().expect("an object") {
            object[name] = value.clone();
        }
        object.to_string()
    }

    fn seen(lens: &Lens, text: &str, source: Option<OrgId>) -> Value {
        match lens.look(text, source) {
            Seen::Whole(text) => serde_json::from_str(&text).expect("JSON"),
            Seen::Withheld { why, .. } => panic!("withheld: {why}"),
        }
    }

    const WATER: &str = "identity--11111111-1111-4111-8111-111111111111";

    #[test]
    fn who_a_source_is_does_not_show() {
        let one = lens("plant", Tier::Down);
        let text = indicator(json!({
            "created_by_ref": WATER, "x_ticket": "TWC-7", "x_mitre_version": "1.0", "name": "臺灣自來水公司 與北水處的中繼站",
            "labels": ["water", "civicnet-consent:all"], "extensions": {"extension-definition--11111111-1111-4111-8111-111111111111": {"extension_type": "property-extension", "a": 1}},
            "object_marking_refs": [Tlp::Green.marking(), "marking-definition--22222222-2222-4222-8222-222222222222"],
            "external_references": [{"source_name": "臺灣自來水公司", "external_id": "1"}],
        }));
        let got = seen(&one, &text, None);
        assert!(
            !got.to_string().contains("自來水")
                && !got.to_string().contains("北水處")
                && !got.to_string().contains("11111111"),
            "{got}"
        );
        assert!(got.get("x_ticket").is_none() && got.get("extensions").is_none());
        assert_eq!(got["x_mitre_version"], "1.0");
        assert_eq!(got["labels"], json!(["water"]));
        assert_eq!(got["object_marking_refs"], json!([Tlp::Green.marking()]));
        assert_eq!(got, seen(&one, &text, None), "the same each time");
        let identity = json!({
            "type": "identity", "spec_version": "2.1", "id": WATER, "created": "2026-03-01T00:00:00.000Z", "modified": "2026-03-01T00:00:00.000Z",
            "name": "臺灣自來水公司", "sectors": ["water"], "contact_information": "王小明",
        });
        let bearer = seen(&one, &identity.to_string(), None);
        assert_eq!(bearer["id"], got["created_by_ref"]);
        assert_eq!(bearer["sectors"], json!(["water"]));
        assert!(!bearer.to_string().contains("王小明") && !bearer.to_string().contains("2026"));
        let other = seen(&lens("grid", Tier::Down), &text, None);
        assert_ne!(
            other["created_by_ref"], got["created_by_ref"],
            "audiences cannot compare"
        );
    }

    #[test]
    fn houses_in_a_ring_change_a_name_a_few_times_only() {
        let mut text = json!({
            "type": "identity", "spec_version": "2.1", "id": WATER, "created": "2026-03-01T00:00:00.000Z", "modified": "2026-03-01T00:00:00.000Z",
            "name": "臺灣自來水公司",
        })
        .to_string();
        let ring = ["a", "b", "c"].map(|audience| lens(audience, Tier::Level));
        let mut ids = std::collections::BTreeSet::new();
        for lens in ring.iter().cycle().take(20) {
            let source = Some(OrgId(Uuid::from_u128(7)));
            let Seen::Whole(seen) = lens.look(&text, source) else {
                break;
            };
            text = seen.into_owned();
            let object: Value = serde_json::from_str(&text).expect("JSON");
            ids.insert(object["id"].to_string());
        }
        assert_eq!(ids.len(), TIMELESS.len());
    }

    #[test]
    fn consent_is_the_objects_then_the_sources() {
        let org = Some(OrgId(Uuid::from_u128(7)));
        let withheld =
            |lens: &Lens, text: &str| matches!(lens.look(text, org), Seen::Withheld { .. });
        let (up, down) = (lens("nation", Tier::Up), lens("plant", Tier::Down));
        let bare = indicator(json!({}));
        assert!(!withheld(&up, &bare) && withheld(&down, &bare));
        let all = indicator(json!({"labels": ["civicnet-consent:all"]}));
        assert!(!withheld(&up, &all) && !withheld(&down, &all));
        let none = indicator(json!({"labels": ["civicnet-consent:none"]}));
        assert!(withheld(&up, &none) && withheld(&down, &none));
        let mut own = down;
        own.own = org;
        assert_eq!(
            own.look(&none, org),
            Seen::Whole(Cow::Borrowed(none.as_str()))
        );
    }

    #[test]
    fn what_has_nothing_to_hide_goes_byte_for_byte() {
        let lens = lens("plant", Tier::Down);
        let text = format!(
            " {} ",
            indicator(
                json!({"labels": ["a"], "created_by_ref": "identity--c78cb6e5-0c4b-4611-8297-d1b8b55e40b5"})
            )
        );
        assert_eq!(
            lens.look(&text, None),
            Seen::Whole(Cow::Borrowed(text.as_str()))
        );
        assert!(matches!(lens.look("{", None), Seen::Withheld { .. }));
        let statement = json!({"type": "marking-definition", "spec_version": "2.1", "id": "marking-definition--22222222-2222-4222-8222-222222222222",
            "created": "2026-01-01T00:00:00.000Z", "definition_type": "statement", "definition": {"statement": "臺灣自來水公司 2026"}});
        assert!(matches!(
            lens.look(&statement.to_string(), None),
            Seen::Withheld { .. }
        ));
    }
}
