//! Events of MISP (JSON). Attributes meant for detection (`to_ids`) become indicators, a file
//! object one indicator, CVE numbers vulnerabilities, clusters of galaxies what they name,
//! sightings sightings, false positives opinions, references relationships; the event becomes
//! a report by its organisation. What else there is, is counted and named.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    About, BYTES_MAX, ITEMS_MAX, ImportError, Imported, about_time, comparison, galaxy, indicator,
    named, pattern, wrong,
};
use crate::stix::{Tlp, time};

/// Labels of one object, and characters of one.
const LABELS_MAX: usize = 50;
const LABEL_CHARS_MAX: usize = 250;
/// Comments kept in the description of one indicator.
const COMMENTS_MAX: usize = 20;
/// Relationships between the indicators of one event and what the event as a whole names.
const LINKS_MAX: usize = 5_000;
/// Pages that a report refers to.
const PAGES_MAX: usize = 100;
/// Sightings of one attribute.
const SIGHTINGS_MAX: usize = 1_000;
/// Lists of an event that have no counterpart here.
const UNREAD: [&str; 4] = [
    "ShadowAttribute",
    "EventReport",
    "RelatedEvent",
    "CryptographicKey",
];

/// A MISP event, or a list of them, as MISP exports JSON.
///
/// # Errors
/// When it is no such JSON.
pub fn misp(text: &str, about: &About) -> Result<Imported, ImportError> {
    if text.len() > BYTES_MAX {
        return Err(wrong(
            "event",
            format!("must have at most {BYTES_MAX} bytes"),
        ));
    }
    let root: Value =
        serde_json::from_str(text).map_err(|error| wrong("event", error.to_string()))?;
    let events: Vec<&Value> = match (&root["response"], &root) {
        (Value::Array(events), _) | (_, Value::Array(events)) => events.iter().collect(),
        (one @ Value::Object(_), _) => vec![one],
        (_, one) => vec![one],
    };
    let mut out = Out::default();
    for (index, event) in events.into_iter().enumerate() {
        let place = format!("events[{index}]");
        let inner = event["Event"].as_object();
        // Some write the event without its wrapping.
        let bare = event
            .as_object()
            .filter(|event| event.contains_key("info") && event.contains_key("Attribute"));
        let Some(event) = inner.or(bare) else {
            return Err(wrong(&place, "must have a member Event"));
        };
        Reader::new(event, &place, about, &mut out).read(event)?;
    }
    Ok(Imported {
        objects: out.objects,
        left_out: out.left_out,
    })
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The member `name`, unless it is empty.
pub(super) fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value[name].as_str().filter(|text| !text.trim().is_empty())
}

/// A time as objects of STIX say it, in milliseconds.
pub(super) fn moment(at: i64) -> String {
    time::format(at - at.rem_euclid(1_000))
}

/// MISP's time: seconds since 1970, as text or number.
fn seconds(value: &Value) -> Option<i64> {
    let seconds = value.as_i64().or_else(|| value.as_str()?.parse().ok())?;
    (1..=4_102_444_800)
        .contains(&seconds)
        .then_some(seconds * 1_000_000)
}

/// MISP's yes: `true`, and `1` of older ones.
fn yes(value: &Value) -> bool {
    match value {
        Value::Bool(yes) => *yes,
        Value::String(text) => text == "1" || text.eq_ignore_ascii_case("true"),
        other => other.as_i64() == Some(1),
    }
}

/// What a list of tags says.
#[derive(Debug, Clone, Default)]
struct Tags {
    /// The strictest marking.
    tlp: Option<Tlp>,
    labels: Vec<String>,
    /// Galaxy and cluster.
    clusters: Vec<(String, Value)>,
}

impl Tags {
    fn of(holder: &Value) -> Self {
        let mut out = Self::default();
        for galaxy in list(&holder["Galaxy"]) {
            for cluster in list(&galaxy["GalaxyCluster"]) {
                let kind = text(galaxy, "type").or_else(|| text(cluster, "type"));
                if let Some(kind) = kind {
                    out.clusters.push((kind.to_owned(), cluster.clone()));
                }
            }
        }
        for tag in list(&holder["Tag"]) {
            let Some(name) = text(tag, "name").map(str::trim) else {
                continue;
            };
            let lower = name.to_ascii_lowercase();
            if let Some(tlp) = lower.strip_prefix("tlp:").and_then(Tlp::from_name) {
                out.tlp = out.tlp.max(Some(tlp));
            } else if let Some((galaxy, cluster)) = galaxy::of_tag(name)
                && galaxy::kind_of(galaxy).is_some()
            {
                // With its galaxy beside it the tag only repeats the cluster.
                let known = out.clusters.iter().any(|(kind, known)| {
                    kind == galaxy && text(known, "value").is_some_and(|value| value == cluster)
                });
                if !known {
                    let cluster = json!({ "value": cluster });
                    out.clusters.push((galaxy.to_owned(), cluster));
                }
            } else {
                out.labels
                    .push(name.chars().take(LABEL_CHARS_MAX).collect());
            }
        }
        out
    }
}

/// What is made, each object once.
#[derive(Debug, Default)]
struct Out {
    objects: Vec<Value>,
    /// Where an object stands, and its marking.
    places: HashMap<String, (usize, Tlp)>,
    left_out: Vec<String>,
}

impl Out {
    /// Adds an object; what is there already is told what this one says besides.
    fn put(&mut self, object: Value, tlp: Tlp) -> String {
        let id = object["id"].as_str().unwrap_or_default().to_owned();
        match self.places.get(&id) {
            Some((place, _)) => join(&mut self.objects[*place], object),
            None => {
                self.places.insert(id.clone(), (self.objects.len(), tlp));
                self.objects.push(object);
            }
        }
        id
    }

    fn tlp(&self, id: &str) -> Tlp {
        self.places.get(id).map(|place| place.1).unwrap_or_default()
    }

    fn relate(&mut self, kind: &str, from: &str, to: &str, at: i64, author: Option<&str>) {
        if from == to {
            return;
        }
        let tlp = self.tlp(from).max(self.tlp(to));
        let id = named(&format!("relationship {kind} {from} {to}"));
        let mut made = json!({
            "type": "relationship", "spec_version": "2.1", "id": format!("relationship--{id}"), "created": moment(at), "modified": moment(at),
            "relationship_type": kind, "source_ref": from, "target_ref": to, "object_marking_refs": [tlp.marking()],
        });
        sign(&mut made, author);
        self.put(made, tlp);
    }
}

fn sign(object: &mut Value, author: Option<&str>) {
    if let Some(author) = author {
        object["created_by_ref"] = author.into();
    }
}

/// Two attributes that say the same: one indicator, from the first time that either holds to
/// the last.
fn join(one: &mut Value, other: Value) {
    let earlier = |a: &Value, b: &Value| -> bool { a.as_str() < b.as_str() };
    for name in ["created", "valid_from"] {
        if other[name].is_string() && earlier(&other[name], &one[name]) {
            one[name] = other[name].clone();
        }
    }
    if earlier(&one["modified"], &other["modified"]) {
        one["modified"] = other["modified"].clone();
    }
    if one["valid_until"].is_string() {
        match other["valid_until"].is_string() {
            true if earlier(&one["valid_until"], &other["valid_until"]) => {
                one["valid_until"] = other["valid_until"].clone();
            }
            true => {}
            false => {
                if let Some(one) = one.as_object_mut() {
                    one.remove("valid_until");
                }
            }
        }
    }
    if let Some(said) = other["description"].as_str() {
        let known = one["description"].as_str().unwrap_or_default();
        if !known.lines().any(|line| line == said) && known.lines().count() < COMMENTS_MAX {
            let both = match known {
                "" => said.to_owned(),
                known => format!("{known}\n{said}"),
            };
            one["description"] = both.into();
        }
    }
    // The same event twice in one file.
    if let Some(more) = other["object_refs"].as_array() {
        let known = list(&one["object_refs"]).iter().chain(more);
        let all: BTreeSet<&str> = known.filter_map(Value::as_str).collect();
        one["object_refs"] = json!(all);
    }
    let labels = list(&one["labels"]).iter().chain(list(&other["labels"]));
    let labels = unique(labels.filter_map(Value::as_str).map(str::to_owned));
    if !labels.is_empty() {
        one["labels"] = labels.into();
    }
}

fn unique(labels: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    labels
        .filter(|label| seen.insert(label.clone()))
        .take(LABELS_MAX)
        .collect()
}

/// What is said of an indicator besides its pattern.
#[derive(Debug, Clone)]
struct Said<'a> {
    tlp: Tlp,
    at: i64,
    labels: Vec<String>,
    comments: Vec<&'a str>,
    first_seen: Option<i64>,
    last_seen: Option<i64>,
    clusters: Vec<(String, Value)>,
    sightings: Vec<&'a Value>,
    uuids: Vec<&'a str>,
}

impl<'a> Said<'a> {
    fn new(tlp: Tlp, labels: &[String]) -> Self {
        Self {
            tlp,
            at: 0,
            labels: labels.to_vec(),
            comments: Vec::new(),
            first_seen: None,
            last_seen: None,
            clusters: Vec::new(),
            sightings: Vec::new(),
            uuids: Vec::new(),
        }
    }

    /// What an attribute or object adds. The strictest marking counts.
    fn add(&mut self, holder: &'a Value) {
        let tags = Tags::of(holder);
        self.tlp = self.tlp.max(tags.tlp.unwrap_or_default());
        self.labels.extend(tags.labels);
        self.clusters.extend(tags.clusters);
        self.at = self.at.max(seconds(&holder["timestamp"]).unwrap_or(0));
        self.comments.extend(text(holder, "comment").map(str::trim));
        let seen = |name| text(holder, name).and_then(about_time);
        self.first_seen = match (self.first_seen, seen("first_seen")) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.last_seen = self.last_seen.max(seen("last_seen"));
        self.sightings.extend(list(&holder["Sighting"]));
        self.uuids.extend(text(holder, "uuid"));
    }
}

/// One event while it is read.
struct Reader<'a, 'o> {
    place: String,
    about: About,
    /// When the event says what its attributes say no time of.
    at: i64,
    title: &'a str,
    author: Option<String>,
    tags: Tags,
    out: &'o mut Out,
    /// Where what is left out of this event begins.
    first_left: usize,
    /// Kinds of attributes that were left out, by reason.
    left: BTreeMap<&'static str, BTreeMap<String, usize>>,
    /// Objects of STIX by MISP's ids.
    made: HashMap<&'a str, String>,
    /// What the report is about.
    refs: BTreeSet<String>,
    indicators: Vec<(String, i64)>,
    pages: Vec<Value>,
}

const DELETED: &str = "deleted";
const NOT_FOR_DETECTION: &str = "not meant for detection (to_ids)";
const NOT_BROUGHT: &str = "not brought over";

impl<'a, 'o> Reader<'a, 'o> {
    fn new(event: &'a Map<String, Value>, place: &str, about: &About, out: &'o mut Out) -> Self {
        let holder = |name: &str| event.get(name).cloned().unwrap_or_default();
        let tags = Tags::of(&json!({ "Tag": holder("Tag"), "Galaxy": holder("Galaxy") }));
        // A tag says the marking; without one, the import's own.
        let tlp = tags.tlp.unwrap_or(about.tlp);
        let word = |name: &str| event.get(name).and_then(Value::as_str);
        let at = event
            .get("timestamp")
            .and_then(seconds)
            .or_else(|| word("date").and_then(about_time))
            .unwrap_or(about.now);
        let first_left = out.left_out.len();
        Self {
            place: place.to_owned(),
            about: About {
                tlp,
                ..about.clone()
            },
            at,
            title: word("info").unwrap_or_default(),
            author: None,
            tags,
            out,
            first_left,
            left: BTreeMap::new(),
            made: HashMap::new(),
            refs: BTreeSet::new(),
            indicators: Vec::new(),
            pages: Vec::new(),
        }
    }

    fn read(mut self, event: &'a Map<String, Value>) -> Result<(), ImportError> {
        static NOTHING: Value = Value::Null;
        let member = |name: &str| event.get(name).unwrap_or(&NOTHING);
        let maker = [member("Orgc"), member("Org")];
        self.author = maker.into_iter().find_map(|one| self.identity(one));
        let (mut attributes, mut references) = (0, Vec::new());
        for (index, attribute) in list(member("Attribute")).iter().enumerate() {
            let place = format!("{}.Attribute[{index}]", self.place);
            attributes += 1;
            self.room(&place)?;
            let said = Said::new(self.about.tlp, &self.tags.labels);
            self.attribute(attribute, &place, said);
        }
        for (index, object) in list(member("Object")).iter().enumerate() {
            let place = format!("{}.Object[{index}]", self.place);
            attributes += list(&object["Attribute"]).len();
            self.room(&place)?;
            self.object(object, &place)?;
            for (at, one) in list(&object["ObjectReference"]).iter().enumerate() {
                references.push((format!("{place}.ObjectReference[{at}]"), object, one));
            }
        }
        for (index, sighting) in list(member("Sighting")).iter().enumerate() {
            let place = format!("{}.Sighting[{index}]", self.place);
            match text(sighting, "attribute_uuid").and_then(|uuid| self.made.get(uuid).cloned()) {
                Some(id) => self.sighting(sighting, &id, &place),
                None => self.note(&place, "what was sighted is not brought over"),
            }
        }
        for (place, object, reference) in references {
            self.reference(object, reference, &place);
        }
        self.whole(event);
        for name in UNREAD {
            let count = list(member(name)).len();
            if count > 0 {
                self.note(&self.place.clone(), format!("{count} {name} {NOT_BROUGHT}"));
            }
        }
        self.sum(attributes);
        Ok(())
    }

    fn room(&self, place: &str) -> Result<(), ImportError> {
        match self.out.objects.len() < ITEMS_MAX {
            true => Ok(()),
            false => Err(wrong(place, format!("must not follow {ITEMS_MAX} others"))),
        }
    }

    fn note(&mut self, place: &str, why: impl std::fmt::Display) {
        self.out.left_out.push(format!("{place}: {why}"));
    }

    /// Leaves out an attribute of `kind`.
    fn leave(&mut self, place: &str, kind: &str, reason: &'static str, why: Option<String>) {
        let kind: String = kind.chars().take(60).collect();
        let why = why.unwrap_or_else(|| format!("{kind} is {reason}"));
        self.note(place, why);
        *self
            .left
            .entry(reason)
            .or_default()
            .entry(kind)
            .or_default() += 1;
    }

    /// Before what is left out one by one: how many of what.
    fn sum(&mut self, attributes: usize) {
        if self.left.is_empty() {
            return;
        }
        let reasons: Vec<String> = self
            .left
            .iter()
            .map(|(reason, kinds)| {
                let names: Vec<String> = kinds
                    .iter()
                    .map(|(kind, count)| match count {
                        1 => kind.clone(),
                        count => format!("{kind} {count} times"),
                    })
                    .collect();
                let count: usize = kinds.values().sum();
                format!("{count} {reason}: {}", names.join(", "))
            })
            .collect();
        let line = format!(
            "{}: of {attributes} attributes {}",
            self.place,
            reasons.join("; ")
        );
        self.out.left_out.insert(self.first_left, line);
    }

    /// An organisation. It is the same under every marking, because who says something is
    /// counted by it.
    fn identity(&mut self, org: &Value) -> Option<String> {
        let name = text(org, "name")?.trim();
        let uuid = text(org, "uuid").and_then(|uuid| Uuid::try_parse(uuid).ok());
        let id = uuid.unwrap_or_else(|| named(&format!("identity {name}")));
        // What an event says of an organisation never stands above what it says of itself.
        let at = moment(0);
        let made = json!({
            "type": "identity", "spec_version": "2.1", "id": format!("identity--{id}"), "created": at, "modified": at,
            "name": name, "identity_class": "organization", "object_marking_refs": [self.about.tlp.marking()],
        });
        Some(self.out.put(made, self.about.tlp))
    }

    /// Type and value of an attribute that is to become an indicator.
    fn wanted(&mut self, attribute: &'a Value, place: &str) -> Option<(&'a str, &'a str)> {
        let (kind, value) = (text(attribute, "type"), text(attribute, "value"));
        let (Some(kind), Some(value)) = (kind, value) else {
            self.leave(
                place,
                kind.unwrap_or("?"),
                NOT_BROUGHT,
                Some("must have type and value".into()),
            );
            return None;
        };
        if yes(&attribute["deleted"]) {
            self.leave(place, kind, DELETED, None);
            return None;
        }
        if kind == "vulnerability" || (kind == "link" && !yes(&attribute["to_ids"])) {
            return Some((kind, value));
        }
        if !yes(&attribute["to_ids"]) {
            self.leave(place, kind, NOT_FOR_DETECTION, None);
            return None;
        }
        if text(attribute, "data").is_some() {
            self.note(place, format!("the file of {kind} is {NOT_BROUGHT}"));
        }
        Some((kind, value))
    }

    fn attribute(&mut self, attribute: &'a Value, place: &str, mut said: Said<'a>) {
        let Some((kind, value)) = self.wanted(attribute, place) else {
            return;
        };
        said.add(attribute);
        match kind {
            "vulnerability" => self.vulnerability(value, said),
            // A report may be read by more than an attribute of its own marking.
            "link" if said.tlp > self.about.tlp => self.leave(
                place,
                kind,
                NOT_BROUGHT,
                Some("link: its marking is stricter than that of the event".to_owned()),
            ),
            "link" if self.pages.len() >= PAGES_MAX => self.leave(place, kind, NOT_BROUGHT, None),
            "link" => {
                let mut page = json!({"source_name": "MISP", "url": value});
                if let Some(comment) = text(attribute, "comment") {
                    page["description"] = comment.into();
                }
                self.pages.push(page);
            }
            "yara" | "snort" | "sigma" => self.indicator(value, kind, said),
            _ => match patterns(kind, value) {
                Ok((pattern, less)) => {
                    if let Some(less) = less {
                        self.note(place, less);
                    }
                    self.indicator(&pattern, "stix", said);
                }
                Err(why) => self.leave(place, kind, NOT_BROUGHT, Some(why)),
            },
        }
    }

    fn object(&mut self, object: &'a Value, place: &str) -> Result<(), ImportError> {
        let inner = list(&object["Attribute"]);
        let places = |index: usize| format!("{place}.Attribute[{index}]");
        if yes(&object["deleted"]) {
            for (index, attribute) in inner.iter().enumerate() {
                let kind = text(attribute, "type").unwrap_or("?");
                let why = Some(format!("{kind} is of a deleted object"));
                self.leave(&places(index), kind, DELETED, why);
            }
            return Ok(());
        }
        let mut said = Said::new(self.about.tlp, &self.tags.labels);
        said.add(object);
        let name = text(object, "name").unwrap_or_default();
        if !matches!(name, "file" | "registry-key") {
            // Each attribute is a thing of its own; what is said of the object is said of each,
            // but its id is that of the first.
            for (index, attribute) in inner.iter().enumerate() {
                self.room(&places(index))?;
                self.attribute(attribute, &places(index), said.clone());
            }
            return Ok(());
        }
        // All that is said of one file or key is one pattern.
        let mut tests: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (index, attribute) in inner.iter().enumerate() {
            let place = places(index);
            let Some((kind, value)) = self.wanted(attribute, &place) else {
                continue;
            };
            if matches!(kind, "vulnerability" | "link" | "yara" | "snort" | "sigma") {
                let said = Said::new(self.about.tlp.max(said.tlp), &said.labels);
                self.attribute(attribute, &place, said);
                continue;
            }
            let relation = text(attribute, "object_relation").unwrap_or_default();
            match parts(name, relation, kind, value) {
                Ok(found) => {
                    for test in found {
                        let path = test.split(" = ").next().unwrap_or_default().to_owned();
                        tests.entry(path).or_default().insert(test);
                    }
                    said.add(attribute);
                }
                Err(why) => self.leave(&place, kind, NOT_BROUGHT, Some(why)),
            }
        }
        if tests.is_empty() {
            return Ok(());
        }
        // Two names of one file are alternatives.
        let all: Vec<String> = tests
            .into_values()
            .map(|tests| {
                let tests: Vec<String> = tests.into_iter().collect();
                match tests.len() {
                    1 => tests.join(""),
                    _ => format!("({})", tests.join(" OR ")),
                }
            })
            .collect();
        self.indicator(&format!("[{}]", all.join(" AND ")), "stix", said);
        Ok(())
    }

    fn indicator(&mut self, pattern: &str, language: &str, mut said: Said<'a>) {
        if said.at == 0 {
            said.at = self.at;
        }
        let about = About {
            tlp: said.tlp,
            ..self.about.clone()
        };
        let title = match self.title.trim() {
            "" => "MISP",
            title => title,
        };
        let mut made = indicator(pattern, title, said.at, &about);
        made["pattern_type"] = language.into();
        sign(&mut made, self.author.as_deref());
        let comments = unique(said.comments.iter().map(|text| (*text).to_owned()));
        if !comments.is_empty() {
            let few = comments.into_iter().take(COMMENTS_MAX);
            made["description"] = few.collect::<Vec<_>>().join("\n").into();
        }
        let labels = unique(said.labels.iter().cloned());
        if !labels.is_empty() {
            made["labels"] = labels.into();
        }
        self.span(&mut made, &said);
        let id = self.out.put(made, said.tlp);
        self.refs.insert(id.clone());
        self.indicators.push((id.clone(), said.at));
        for uuid in &said.uuids {
            self.made.entry(uuid).or_insert_with(|| id.clone());
        }
        for (galaxy, cluster) in &said.clusters {
            self.cluster(galaxy, cluster, said.tlp, said.at, &[(id.clone(), said.at)]);
        }
        let place = self.place.clone();
        for sighting in said.sightings.iter().take(SIGHTINGS_MAX) {
            self.sighting(sighting, &id, &place);
        }
        if said.sightings.len() > SIGHTINGS_MAX {
            let more = said.sightings.len() - SIGHTINGS_MAX;
            self.note(&place, format!("{more} sightings more {NOT_BROUGHT}"));
        }
        // That it was seen in the past ends nothing: it is a sighting.
        if let Some(last) = said.last_seen.filter(|last| *last <= said.at) {
            let first = said.first_seen.filter(|first| *first <= last);
            let author = self.author.clone();
            self.seen(
                &format!("{id} {}", moment(last)),
                &id,
                (first.unwrap_or(last), last),
                None,
                author,
            );
        }
    }

    /// From when until when it holds. `last_seen` ends it only where it lies after what says it,
    /// as an announced end; a sighting that it has expired does, too.
    fn span(&self, made: &mut Value, said: &Said<'_>) {
        let from = said.first_seen.unwrap_or(said.at);
        made["valid_from"] = moment(from).into();
        let announced = said.last_seen.filter(|last| *last > said.at);
        let expired = said
            .sightings
            .iter()
            .filter(|one| kind_of_sighting(one) == 2)
            .filter_map(|one| seconds(&one["date_sighting"]))
            .max();
        let until = match (announced, expired) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let until = until.or_else(|| self.about.until(said.at.max(from)));
        let ends = until.filter(|until| *until - until.rem_euclid(1_000) > from);
        match (ends, made.as_object_mut()) {
            (Some(ends), _) => made["valid_until"] = moment(ends).into(),
            (None, Some(made)) => drop(made.remove("valid_until")),
            (None, None) => {}
        }
    }

    fn vulnerability(&mut self, name: &str, said: Said<'a>) {
        let at = if said.at == 0 { self.at } else { said.at };
        let name = name.trim();
        let id = named(&format!("vulnerability {name} {}", said.tlp.name()));
        let mut made = json!({
            "type": "vulnerability", "spec_version": "2.1", "id": format!("vulnerability--{id}"), "created": moment(at), "modified": moment(at),
            "name": name, "object_marking_refs": [said.tlp.marking()],
        });
        if name.to_ascii_uppercase().starts_with("CVE-") {
            made["external_references"] =
                json!([{"source_name": "cve", "external_id": name.to_ascii_uppercase()}]);
        }
        sign(&mut made, self.author.as_deref());
        if !said.comments.is_empty() {
            made["description"] = said.comments.join("\n").into();
        }
        let labels = unique(said.labels.iter().cloned());
        if !labels.is_empty() {
            made["labels"] = labels.into();
        }
        let id = self.out.put(made, said.tlp);
        for uuid in &said.uuids {
            self.made.entry(uuid).or_insert_with(|| id.clone());
        }
        self.refs.insert(id);
    }

    /// The object of a cluster, related to these indicators.
    fn cluster(
        &mut self,
        galaxy: &str,
        cluster: &Value,
        tlp: Tlp,
        at: i64,
        indicators: &[(String, i64)],
    ) {
        match galaxy::object(galaxy, cluster, at, tlp) {
            Ok(made) => {
                let kind = made["type"].as_str().unwrap_or_default().to_owned();
                let (word, back) = galaxy::relation(&kind);
                let id = self.out.put(made, tlp);
                self.refs.insert(id.clone());
                let author = self.author.clone();
                for (indicator, at) in indicators {
                    let (from, to) = match back {
                        true => (&id, indicator),
                        false => (indicator, &id),
                    };
                    self.out.relate(word, from, to, *at, author.as_deref());
                }
            }
            Err(why) => {
                let place = self.place.clone();
                let value = text(cluster, "value").unwrap_or("?");
                self.note(&place, format!("{value:?}: {why}"));
            }
        }
    }

    fn sighting(&mut self, sighting: &Value, indicator: &str, place: &str) {
        let Some(at) = seconds(&sighting["date_sighting"]) else {
            return self.note(place, "a sighting without date_sighting");
        };
        let org = self.identity(&sighting["Organisation"]);
        let source = text(sighting, "source").map(str::trim);
        let name = match text(sighting, "uuid") {
            Some(uuid) => format!("{uuid} {indicator}"),
            None => format!(
                "{at} {} {} {indicator}",
                org.as_deref().unwrap_or_default(),
                source.unwrap_or_default()
            ),
        };
        match kind_of_sighting(sighting) {
            0 => self.seen(&name, indicator, (at, at), source, org),
            1 => {
                let tlp = self.out.tlp(indicator);
                let id = named(&format!("opinion {name}"));
                let why = match source {
                    Some(source) => format!("MISP: false positive ({source})"),
                    None => "MISP: false positive".to_owned(),
                };
                let mut made = json!({
                    "type": "opinion", "spec_version": "2.1", "id": format!("opinion--{id}"), "created": moment(at), "modified": moment(at),
                    "opinion": "strongly-disagree", "explanation": why, "object_refs": [indicator], "object_marking_refs": [tlp.marking()],
                });
                if let Some(author) = text(&sighting["Organisation"], "name") {
                    made["authors"] = json!([author]);
                }
                sign(&mut made, org.as_deref());
                self.out.put(made, tlp);
            }
            // It ended the indicator.
            2 => {}
            _ => self.note(place, "a sighting of unknown type"),
        }
    }

    fn seen(
        &mut self,
        name: &str,
        indicator: &str,
        (first, last): (i64, i64),
        source: Option<&str>,
        org: Option<String>,
    ) {
        let tlp = self.out.tlp(indicator);
        let id = named(&format!("sighting {name}"));
        let mut made = json!({
            "type": "sighting", "spec_version": "2.1", "id": format!("sighting--{id}"), "created": moment(last), "modified": moment(last),
            "first_seen": moment(first), "last_seen": moment(last), "sighting_of_ref": indicator, "object_marking_refs": [tlp.marking()],
        });
        if first == last {
            made["count"] = 1.into();
        }
        if let Some(source) = source {
            made["description"] = source.into();
        }
        if let Some(org) = org {
            made["where_sighted_refs"] = json!([org]);
            sign(&mut made, Some(&org));
        }
        self.out.put(made, tlp);
    }

    fn reference(&mut self, object: &Value, reference: &Value, place: &str) {
        if yes(&reference["deleted"]) {
            return self.note(place, "deleted");
        }
        let from = text(object, "uuid").and_then(|uuid| self.made.get(uuid).cloned());
        let to = text(reference, "referenced_uuid").and_then(|uuid| self.made.get(uuid).cloned());
        let (Some(from), Some(to)) = (from, to) else {
            return self.note(place, "one of its ends is not brought over");
        };
        let word: String = text(reference, "relationship_type")
            .unwrap_or("related-to")
            .to_ascii_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let at = seconds(&reference["timestamp"]).unwrap_or(self.at);
        let author = self.author.clone();
        self.out.relate(&word, &from, &to, at, author.as_deref());
    }

    /// What the event says as a whole: its clusters, and the report.
    fn whole(&mut self, event: &Map<String, Value>) {
        let clusters = std::mem::take(&mut self.tags.clusters);
        let (tlp, at) = (self.about.tlp, self.at);
        let mut indicators = std::mem::take(&mut self.indicators);
        indicators.sort();
        indicators.dedup_by(|one, other| one.0 == other.0);
        let links = clusters.len() * indicators.len();
        if links > LINKS_MAX {
            let place = self.place.clone();
            self.note(
                &place,
                format!("{links} relationships of its indicators to what its galaxies name are too many: the report refers to both"),
            );
            indicators.clear();
        }
        for (galaxy, cluster) in &clusters {
            self.cluster(galaxy, cluster, tlp, at, &indicators);
        }
        let uuid = event
            .get("uuid")
            .and_then(Value::as_str)
            .and_then(|uuid| Uuid::try_parse(uuid).ok());
        let place = self.place.clone();
        let (Some(uuid), false) = (uuid, self.refs.is_empty()) else {
            if !self.pages.is_empty() {
                let count = self.pages.len();
                self.note(
                    &place,
                    format!("{count} links: there is no report for them"),
                );
            }
            return;
        };
        let title = match self.title.trim() {
            "" => "MISP",
            title => title,
        };
        let mut report = json!({
            "type": "report", "spec_version": "2.1", "id": format!("report--{uuid}"), "created": moment(at), "modified": moment(at),
            "published": moment(at), "name": title, "report_types": ["indicator"],
            "object_refs": self.refs, "object_marking_refs": [tlp.marking()],
        });
        sign(&mut report, self.author.as_deref());
        let labels = unique(self.tags.labels.iter().cloned());
        if !labels.is_empty() {
            report["labels"] = labels.into();
        }
        if !self.pages.is_empty() {
            report["external_references"] = std::mem::take(&mut self.pages).into();
        }
        self.out.put(report, tlp);
    }
}

/// 0: seen; 1: a false positive; 2: expired.
fn kind_of_sighting(sighting: &Value) -> i64 {
    let kind = &sighting["type"];
    kind.as_i64()
        .or_else(|| kind.as_str()?.parse().ok())
        .unwrap_or(0)
}

/// The pattern of an attribute, and what of it the pattern does not say.
fn patterns(kind: &str, value: &str) -> Result<(String, Option<String>), String> {
    let two = |split: Option<(&str, &str)>| -> Result<(String, String), String> {
        split
            .map(|(one, other)| (one.to_owned(), other.to_owned()))
            .ok_or_else(|| format!("{kind}: {value:?} must be two values with | between them"))
    };
    match kind {
        // Either is reason enough: what stands in one place did so in the other, too.
        "domain|ip" => {
            let (domain, ip) = two(value.split_once('|'))?;
            let (domain, ip) = (pattern("domain", &domain)?, pattern("ip", &ip)?);
            Ok((format!("{domain} OR {ip}"), None))
        }
        "ip-src|port" | "ip-dst|port" | "hostname|port" => {
            let (host, port) = two(value.split_once('|'))?;
            let kind = kind.trim_end_matches("|port");
            let less = format!("port {port} is {NOT_BROUGHT}: the indicator is of all of {host}");
            Ok((pattern(kind, &host)?, Some(less)))
        }
        _ if kind == "regkey|value" || kind == "malware-sample" || kind.contains('|') => {
            let tests = parts("", "", kind, value)?;
            Ok((format!("[{}]", tests.join(" AND ")), None))
        }
        _ => Ok((pattern(kind, value)?, None)),
    }
}

/// The comparisons of an attribute, all of one thing.
fn parts(object: &str, relation: &str, kind: &str, value: &str) -> Result<Vec<String>, String> {
    let two = |split: Option<(&'_ str, &'_ str)>| -> Result<(String, String), String> {
        split
            .map(|(one, other)| (one.to_owned(), other.to_owned()))
            .ok_or_else(|| format!("{kind}: {value:?} must be two values with | between them"))
    };
    let of_value = |property: &str, value: &str| {
        let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
        format!("windows-registry-key:values[*].{property} = '{quoted}'")
    };
    match (object, relation, kind) {
        ("registry-key", "name", _) => Ok(vec![of_value("name", value)]),
        ("registry-key", "data", _) => Ok(vec![of_value("data", value)]),
        ("registry-key", _, kind) if !kind.starts_with("regkey") => {
            Err(format!("{kind} of a registry key is {NOT_BROUGHT}"))
        }
        (_, _, "regkey|value") => {
            let (key, data) = two(value.split_once('|'))?;
            Ok(vec![comparison("regkey", &key)?, of_value("data", &data)])
        }
        (_, _, "malware-sample") => {
            let (name, md5) = two(value.rsplit_once('|'))?;
            Ok(vec![
                comparison("filename", &name)?,
                comparison("md5", &md5)?,
            ])
        }
        (_, _, kind) => match kind.strip_prefix("filename|") {
            Some(hash) => {
                let (name, digits) = two(value.rsplit_once('|'))?;
                Ok(vec![
                    comparison("filename", &name)?,
                    comparison(hash, &digits)?,
                ])
            }
            None => {
                let test = comparison(kind, value)?;
                match object != "file" || test.starts_with("file:") {
                    true => Ok(vec![test]),
                    false => Err(format!("{kind} of a file is {NOT_BROUGHT}")),
                }
            }
        },
    }
}

#[cfg(test)]
pub(crate) mod tests;
