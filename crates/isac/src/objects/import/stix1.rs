//! STIX 1.0 to 1.2 (XML, with CybOX 2 observables) brought to 2.1: indicators with their
//! observables and compositions, malware and attack patterns of TTPs, threat actors,
//! campaigns, vulnerabilities of exploit targets, courses of action, incidents, and how they are
//! related. What is negated is never brought over as its opposite. What is left out is said by
//! path.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::expression::Expression;
use super::xml::{self, Element};
use super::{
    About, ITEMS_MAX, ImportError, Imported, about_time, comparison, indicator, like, named, wrong,
};
use crate::stix::{Tlp, time};

/// Depth of compositions and references within each other.
const DEPTH_MAX: usize = 20;
/// Nodes of one indicator's tree, with what it refers to.
const PARTS_MAX: usize = 5_000;

/// A package of STIX 1.x.
///
/// # Errors
/// When it is no such package.
pub fn stix1(text: &str, about: &About) -> Result<Imported, ImportError> {
    let root = xml::parse(text)?;
    if root.name != "STIX_Package" {
        return Err(wrong(&root.name, "must be STIX_Package"));
    }
    if root
        .attribute("version")
        .is_some_and(|version| !version.starts_with("1."))
    {
        return Err(wrong("STIX_Package.version", "must be 1.x"));
    }
    let about = About {
        tlp: tlp_of(&root).unwrap_or(about.tlp),
        now: root
            .attribute("timestamp")
            .and_then(about_time)
            .unwrap_or(about.now),
        ..about.clone()
    };
    let mut package = Package {
        about,
        observables: HashMap::new(),
        referred: HashSet::new(),
        made: HashMap::new(),
        links: Vec::new(),
        known: HashMap::new(),
        out: Imported::default(),
        parts: 0,
    };
    package.index(&root, 0);
    let lists: [(&str, &str, Maker<'_>); 7] = [
        ("Indicators", "Indicator", Package::indicator),
        ("TTPs", "TTP", Package::ttp),
        ("Threat_Actors", "Threat_Actor", Package::actor),
        ("Campaigns", "Campaign", Package::campaign),
        ("Exploit_Targets", "Exploit_Target", Package::target),
        ("Courses_Of_Action", "Course_Of_Action", Package::action),
        ("Incidents", "Incident", Package::incident),
    ];
    for (list, name, make) in lists {
        let items = root.child(list).map(|list| list.all(name));
        for (index, item) in items.into_iter().flatten().enumerate() {
            let place = format!("STIX_Package.{list}.{name}[{index}]");
            if package.out.objects.len() >= ITEMS_MAX {
                return Err(wrong(&place, format!("must not follow {ITEMS_MAX} others")));
            }
            package.parts = 0;
            make(&mut package, item, &place);
        }
    }
    package.relate();
    package.rest(&root);
    Ok(package.out)
}

type Maker<'a> = fn(&mut Package<'a>, &'a Element, &str);

/// What refers to what: the objects made of the element at the end of `path` stand in `relation`
/// to those of the one that holds it, as its source when `back`.
struct Join {
    path: &'static [&'static str],
    relation: &'static str,
    back: bool,
}

const fn join(path: &'static [&'static str], relation: &'static str, back: bool) -> Join {
    Join {
        path,
        relation,
        back,
    }
}

const OF_INDICATOR: &[Join] = &[
    join(&["Indicated_TTP", "TTP"], "indicates", false),
    join(
        &["Suggested_COAs", "Suggested_COA", "Course_Of_Action"],
        "mitigates",
        true,
    ),
    join(
        &["Related_Campaigns", "Related_Campaign", "Campaign"],
        "indicates",
        false,
    ),
];
const OF_TTP: &[Join] = &[join(
    &["Exploit_Targets", "Exploit_Target", "Exploit_Target"],
    "targets",
    false,
)];
const OF_ACTOR: &[Join] = &[join(
    &["Observed_TTPs", "Observed_TTP", "TTP"],
    "uses",
    false,
)];
const OF_CAMPAIGN: &[Join] = &[
    join(&["Related_TTPs", "Related_TTP", "TTP"], "uses", false),
    join(
        &["Attribution", "Attributed_Threat_Actor", "Threat_Actor"],
        "attributed-to",
        false,
    ),
    join(
        &["Related_Indicators", "Related_Indicator", "Indicator"],
        "indicates",
        true,
    ),
];
const OF_TARGET: &[Join] = &[join(
    &["Potential_COAs", "Potential_COA", "Course_Of_Action"],
    "mitigates",
    true,
)];

/// A reference that is looked up when all is read.
struct Link {
    from: Vec<String>,
    to: String,
    relation: &'static str,
    back: bool,
    at: i64,
    place: String,
}

struct Package<'a> {
    about: About,
    /// Observables and objects by id, for references.
    observables: HashMap<&'a str, &'a Element>,
    /// Ids of observables that something refers to.
    referred: HashSet<&'a str>,
    /// Objects of 2.1 by the ids of 1.x.
    made: HashMap<&'a str, Vec<String>>,
    links: Vec<Link>,
    /// Ids that were made, and in which versions.
    known: HashMap<String, HashSet<String>>,
    out: Imported,
    parts: usize,
}

/// The marking of the package's header.
fn tlp_of(root: &Element) -> Option<Tlp> {
    let handling = root.at(&["STIX_Header", "Handling"])?;
    handling
        .all("Marking")
        .flat_map(|marking| marking.all("Marking_Structure"))
        .filter_map(|structure| structure.attribute("color"))
        .filter_map(|colour| Tlp::from_name(&colour.to_ascii_lowercase()))
        .max()
}

impl<'a> Package<'a> {
    fn index(&mut self, element: &'a Element, depth: usize) {
        if depth > xml::DEPTH_MAX {
            return;
        }
        if matches!(element.name.as_str(), "Observable" | "Object")
            && let Some(id) = element.attribute("id")
        {
            self.observables.insert(id, element);
        }
        for child in &element.children {
            self.index(child, depth + 1);
        }
    }

    fn leave(&mut self, place: &str, why: impl std::fmt::Display) {
        self.out.left_out.push(format!("{place}: {why}"));
    }

    /// Adds what was made of `element`; the same version of an object once.
    fn add(&mut self, element: &'a Element, made: Value) -> String {
        let id = made["id"].as_str().unwrap_or_default().to_owned();
        let version = made["modified"].as_str().unwrap_or_default().to_owned();
        if self.known.entry(id.clone()).or_default().insert(version) {
            self.out.objects.push(made);
        }
        if let Some(old) = element.attribute("id") {
            self.made.entry(old).or_default().push(id.clone());
        }
        id
    }

    /// Keeps for later to what `element`, of which `from` was made, refers; what stands there
    /// whole is read where it stands. Names the children of it that nobody reads.
    fn refer(
        &mut self,
        element: &'a Element,
        from: &[String],
        joins: &[Join],
        read: &[&str],
        place: &str,
    ) {
        let at = self.time_of(element);
        for join in joins {
            let mut found = vec![element];
            for name in join.path {
                found = found
                    .into_iter()
                    .flat_map(|one| one.children.iter().filter(move |child| child.name == *name))
                    .collect();
            }
            for one in found {
                let place = format!("{place}.{}", join.path.join("."));
                let to = match (one.attribute("idref"), one.attribute("id")) {
                    (Some(idref), _) => idref.to_owned(),
                    (None, Some(id)) if self.inline(one, &place) => id.to_owned(),
                    _ => {
                        self.leave(&place, "what stands here without an id is not brought over");
                        continue;
                    }
                };
                self.links.push(Link {
                    from: from.to_vec(),
                    to,
                    relation: join.relation,
                    back: join.back,
                    at,
                    place,
                });
            }
        }
        let mut names: Vec<&str> = element
            .children
            .iter()
            .map(|child| child.name.as_str())
            .filter(|name| !["Title", "Description", "Short_Description"].contains(name))
            .filter(|name| !read.contains(name))
            .filter(|name| !joins.iter().any(|join| join.path[0] == *name))
            .collect();
        names.sort_unstable();
        names.dedup();
        if !names.is_empty() {
            self.leave(place, format!("{} not brought over", names.join(", ")));
        }
    }

    /// Reads what stands whole within something else.
    fn inline(&mut self, element: &'a Element, place: &str) -> bool {
        self.parts += 1;
        if self.parts > PARTS_MAX {
            return false;
        }
        match element.name.as_str() {
            "TTP" => self.ttp(element, place),
            "Course_Of_Action" => self.action(element, place),
            "Campaign" => self.campaign(element, place),
            "Threat_Actor" => self.actor(element, place),
            "Exploit_Target" => self.target(element, place),
            "Indicator" => self.indicator(element, place),
            _ => return false,
        }
        true
    }

    /// The relationships, when everything is known that they can join.
    fn relate(&mut self) {
        let mut many = 0;
        for link in std::mem::take(&mut self.links) {
            let Some(to) = self.made.get(link.to.as_str()).cloned() else {
                let why = format!("{} is not in the package, or not brought over", link.to);
                self.leave(&link.place, why);
                continue;
            };
            for (one, other) in link
                .from
                .iter()
                .flat_map(|one| to.iter().map(move |other| (one, other)))
            {
                if self.out.objects.len() >= ITEMS_MAX {
                    many += 1;
                    continue;
                }
                let (from, to) = match link.back {
                    true => (other, one),
                    false => (one, other),
                };
                // Malware exploits what an attack pattern targets.
                let relation = match link.relation {
                    "targets" if from.starts_with("malware--") => "exploits",
                    relation => relation,
                };
                let id = named(&format!("relationship {relation} {from} {to}"));
                let at = time::format(link.at - link.at.rem_euclid(1_000));
                let id = format!("relationship--{id}");
                if from != to && self.known.entry(id.clone()).or_default().insert(at.clone()) {
                    self.out.objects.push(json!({
                        "type": "relationship", "spec_version": "2.1", "id": id, "created": at, "modified": at, "relationship_type": relation,
                        "source_ref": from, "target_ref": to, "object_marking_refs": [self.about.tlp.marking()],
                    }));
                }
            }
        }
        if many > 0 {
            self.leave("STIX_Package", format!("{many} relationships too many"));
        }
    }

    /// Says what of the package nobody reads.
    fn rest(&mut self, root: &Element) {
        let alone = root.child("Observables").map_or(0, |list| {
            list.all("Observable")
                .filter(|one| {
                    one.attribute("id")
                        .is_none_or(|id| !self.referred.contains(id))
                })
                .count()
        });
        if alone > 0 {
            self.leave(
                "STIX_Package.Observables",
                format!("{alone} that no indicator refers to are not meant for detection"),
            );
        }
        for list in ["Related_Packages", "Reports"] {
            if let Some(list) = root.child(list) {
                let count = list.children.len();
                let place = format!("STIX_Package.{}", list.name);
                self.leave(&place, format!("{count} items are not brought over"));
            }
        }
    }

    fn time_of(&self, element: &Element) -> i64 {
        element
            .attribute("timestamp")
            .and_then(about_time)
            .unwrap_or(self.about.now)
    }

    /// The common properties of an object made from `element`.
    fn base(&self, kind: &str, element: &Element, name: &str) -> Value {
        let at = self.time_of(element);
        let at = time::format(at - at.rem_euclid(1_000));
        let id = named(&format!("{kind} {name} {}", self.about.tlp.name()));
        let mut made = json!({
            "type": kind, "spec_version": "2.1", "id": format!("{kind}--{id}"), "created": at, "modified": at,
            "name": name, "object_marking_refs": [self.about.tlp.marking()],
        });
        if let Some(text) = element.text_at(&["Description"]) {
            made["description"] = text.into();
        }
        made
    }

    fn indicator(&mut self, element: &'a Element, place: &str) {
        if let Some(idref) = element.attribute("idref") {
            return self.leave(place, format!("refers to {idref}"));
        }
        if is_negated(element) {
            return self.leave(place, NEGATED);
        }
        let mut parts = Vec::new();
        for (index, one) in element.all("Observable").enumerate() {
            let place = format!("{place}.Observable[{index}]");
            parts.push(self.observable(one, &place, 0));
        }
        if let Some(whole) = element.child("Composite_Indicator_Expression") {
            parts.push(self.composite(whole, &format!("{place}.{}", whole.name), 0));
        }
        let Some(known) = Expression::Any(parts).known() else {
            return self.leave(place, "nothing in it can be said in a pattern");
        };
        let at = self.time_of(element);
        let mut about = self.about.clone();
        if let Some(confidence) = element
            .text_at(&["Confidence", "Value"])
            .and_then(confidence_of)
        {
            about.confidence = confidence;
        }
        let title = element.text_at(&["Title"]).unwrap_or("STIX 1.x");
        let mut made = indicator(&known.pattern(), title, at, &about);
        if let Some(text) = element.text_at(&["Description"]) {
            made["description"] = text.into();
        }
        if let Some(span) = element.child("Valid_Time_Position") {
            let moment = |name| span.text_at(&[name]).and_then(about_time);
            let from = moment("Start_Time").unwrap_or(at);
            made["valid_from"] = time::format(from).into();
            match moment("End_Time") {
                Some(until) if until > from => made["valid_until"] = time::format(until).into(),
                Some(_) => self.leave(place, "Valid_Time_Position ends before it begins"),
                // The import's own end may lie before this beginning.
                None if about.until(at).is_some_and(|until| until <= from) => {
                    if let Some(object) = made.as_object_mut() {
                        object.remove("valid_until");
                    }
                }
                None => {}
            }
        }
        let id = self.add(element, made);
        let read = [
            "Observable",
            "Composite_Indicator_Expression",
            "Confidence",
            "Valid_Time_Position",
            "Type",
        ];
        self.refer(element, &[id], OF_INDICATOR, &read, place);
    }

    fn composite(&mut self, whole: &'a Element, place: &str, depth: usize) -> Expression {
        self.parts += 1;
        if depth > DEPTH_MAX || self.parts > PARTS_MAX {
            self.leave(place, "it is too deep or too large");
            return Expression::Unknown;
        }
        let mut parts = Vec::new();
        for (index, one) in whole.all("Indicator").enumerate() {
            let place = format!("{place}.Indicator[{index}]");
            if is_negated(one) {
                self.leave(&place, NEGATED);
                parts.push(Expression::Unknown);
                continue;
            }
            let mut inner: Vec<Expression> = one
                .all("Observable")
                .map(|observable| self.observable(observable, &place, depth + 1))
                .collect();
            if let Some(whole) = one.child("Composite_Indicator_Expression") {
                inner.push(self.composite(whole, &format!("{place}.{}", whole.name), depth + 1));
            }
            parts.push(match inner.is_empty() {
                true => {
                    self.leave(&place, "it has no observable of its own");
                    Expression::Unknown
                }
                false => Expression::Any(inner),
            });
        }
        self.joined(whole, parts, place)
    }

    fn observable(&mut self, element: &'a Element, place: &str, depth: usize) -> Expression {
        self.parts += 1;
        if depth > DEPTH_MAX || self.parts > PARTS_MAX {
            self.leave(place, "it is too deep or too large");
            return Expression::Unknown;
        }
        // Of a reference, either end may say so.
        if is_negated(element) {
            self.leave(place, NEGATED);
            return Expression::Unknown;
        }
        if let Some(idref) = element.attribute("idref") {
            self.referred.insert(idref);
            return match self.observables.get(idref).copied() {
                Some(found) if !std::ptr::eq(found, element) => {
                    self.observable(found, place, depth + 1)
                }
                _ => {
                    self.leave(place, format!("{idref} is not in the package"));
                    Expression::Unknown
                }
            };
        }
        if let Some(whole) = element.child("Observable_Composition") {
            let mut parts = Vec::new();
            for (index, one) in whole.all("Observable").enumerate() {
                parts.push(self.observable(
                    one,
                    &format!("{place}.Observable[{index}]"),
                    depth + 1,
                ));
            }
            return self.joined(whole, parts, place);
        }
        let object = match element.name.as_str() {
            "Object" => Some(element),
            _ => element.child("Object"),
        };
        let Some(object) = object else {
            self.leave(place, "it has neither object nor composition");
            return Expression::Unknown;
        };
        if let Some(idref) = object.attribute("idref") {
            self.referred.insert(idref);
            return match self.observables.get(idref).copied() {
                Some(found) if !std::ptr::eq(found, object) => {
                    self.observable(found, place, depth + 1)
                }
                _ => {
                    self.leave(place, format!("{idref} is not in the package"));
                    Expression::Unknown
                }
            };
        }
        let mut less = Vec::new();
        let made = object
            .child("Properties")
            .ok_or_else(|| "it has no properties".to_owned())
            .and_then(|found| properties(found, &mut less));
        match made {
            Ok(made) => {
                if !less.is_empty() {
                    self.leave(
                        place,
                        format!("the pattern does not say {}", less.join(", ")),
                    );
                }
                made
            }
            Err(why) => {
                self.leave(place, why);
                Expression::Unknown
            }
        }
    }

    fn joined(&mut self, whole: &Element, parts: Vec<Expression>, place: &str) -> Expression {
        if is_negated(whole) {
            self.leave(place, NEGATED);
            return Expression::Unknown;
        }
        match whole.attribute("operator") {
            Some("AND") => {
                let lost = Expression::lost(&parts);
                if lost > 0 {
                    let why = format!(
                        "{lost} of its {} parts are left out with what they need beside them",
                        parts.len()
                    );
                    self.leave(place, why);
                }
                Expression::All(parts)
            }
            _ => Expression::Any(parts),
        }
    }

    fn ttp(&mut self, element: &'a Element, place: &str) {
        let mut found = Vec::new();
        let malware = element
            .at(&["Behavior", "Malware"])
            .map(|list| list.all("Malware_Instance"));
        for instance in malware.into_iter().flatten() {
            let name = instance
                .text_at(&["Name"])
                .or_else(|| instance.text_at(&["Title"]));
            let Some(name) = name else { continue };
            let mut made = self.base("malware", instance, name);
            made["is_family"] = false.into();
            let mut types: Vec<String> = instance
                .all("Type")
                .filter(|kind| !kind.text.is_empty())
                .map(|kind| kind.text.to_ascii_lowercase().replace([' ', '_', '/'], "-"))
                .collect();
            types.sort();
            types.dedup();
            if !types.is_empty() {
                made["malware_types"] = types.into();
            }
            found.push(self.add(element, made));
        }
        let patterns = element
            .at(&["Behavior", "Attack_Patterns"])
            .map(|list| list.all("Attack_Pattern"));
        for pattern in patterns.into_iter().flatten() {
            let capec = pattern.attribute("capec_id");
            let name = pattern.text_at(&["Title"]).or(capec);
            let Some(name) = name else { continue };
            let mut made = self.base("attack-pattern", pattern, name);
            if let Some(id) = capec {
                made["external_references"] = json!([{"source_name": "capec", "external_id": id}]);
            }
            found.push(self.add(element, made));
        }
        // One that says no more than its name is a way of attacking.
        let more = ["Resources", "Victim_Targeting"];
        let bare = found.is_empty() && more.iter().all(|name| element.child(name).is_none());
        if let (true, Some(name)) = (bare, element.text_at(&["Title"])) {
            let made = self.base("attack-pattern", element, name);
            found.push(self.add(element, made));
        }
        if found.is_empty() {
            return self.leave(place, "it names neither malware nor attack pattern");
        }
        self.refer(element, &found, OF_TTP, &["Behavior"], place);
    }

    fn actor(&mut self, element: &'a Element, place: &str) {
        let name = element
            .text_at(&["Title"])
            .or_else(|| element.text_at(&["Identity", "Name"]));
        match name {
            Some(name) => {
                let made = self.base("threat-actor", element, name);
                let id = self.add(element, made);
                self.refer(element, &[id], OF_ACTOR, &["Identity"], place);
            }
            None => self.leave(place, "it has neither title nor name"),
        }
    }

    fn campaign(&mut self, element: &'a Element, place: &str) {
        let name = element
            .text_at(&["Title"])
            .or_else(|| element.text_at(&["Names", "Name"]));
        match name {
            Some(name) => {
                let made = self.base("campaign", element, name);
                let id = self.add(element, made);
                self.refer(element, &[id], OF_CAMPAIGN, &["Names"], place);
            }
            None => self.leave(place, "it has neither title nor name"),
        }
    }

    fn target(&mut self, element: &'a Element, place: &str) {
        let mut found = Vec::new();
        for weakness in element.all("Vulnerability") {
            let cve = weakness.text_at(&["CVE_ID"]);
            let Some(name) = cve.or_else(|| weakness.text_at(&["Title"])) else {
                continue;
            };
            let mut made = self.base("vulnerability", weakness, name);
            if let Some(cve) = cve {
                made["external_references"] = json!([{"source_name": "cve", "external_id": cve}]);
            }
            found.push(self.add(element, made));
        }
        if found.is_empty() {
            return self.leave(place, "it names no vulnerability");
        }
        self.refer(element, &found, OF_TARGET, &["Vulnerability"], place);
    }

    /// A course of action or an incident: names such as "block" are too common to tell one from
    /// another, so that their ids count, too.
    fn titled(&mut self, kind: &str, element: &'a Element, place: &str) {
        let Some(name) = element.text_at(&["Title"]) else {
            return self.leave(place, "it has no title");
        };
        let mut made = self.base(kind, element, name);
        if let Some(old) = element.attribute("id") {
            let id = named(&format!("{kind} {old} {}", self.about.tlp.name()));
            made["id"] = format!("{kind}--{id}").into();
        }
        let id = self.add(element, made);
        self.refer(element, &[id], &[], &[], place);
    }

    fn action(&mut self, element: &'a Element, place: &str) {
        self.titled("course-of-action", element, place);
    }

    fn incident(&mut self, element: &'a Element, place: &str) {
        self.titled("incident", element, place);
    }
}

/// Why what is negated is left out: a pattern finds what is there.
const NEGATED: &str = "negated: what must not be there cannot be looked for";

fn is_negated(element: &Element) -> bool {
    element
        .attribute("negate")
        .is_some_and(|negate| negate == "1" || negate.eq_ignore_ascii_case("true"))
}

fn confidence_of(word: &str) -> Option<u8> {
    // The scale of STIX 2.1, appendix A.
    match word.to_ascii_lowercase().as_str() {
        "none" => Some(0),
        "low" => Some(15),
        "medium" => Some(50),
        "high" => Some(85),
        other => other.parse().ok().filter(|number| *number <= 100),
    }
}

/// What the properties of an object of CybOX look for. What they ask for besides, and the
/// pattern does not, is added to `less`.
fn properties(properties: &Element, less: &mut Vec<String>) -> Result<Expression, String> {
    let kind = properties.attribute("type").unwrap_or_default();
    let kind = kind.rsplit(':').next().unwrap_or_default();
    match kind {
        "AddressObjectType" => {
            let value = properties
                .child("Address_Value")
                .ok_or("an address without Address_Value")?;
            let category = properties.attribute("category").unwrap_or("ipv4-addr");
            match category {
                "e-mail" => values(value, "email", "email-addr:value"),
                "ipv4-addr" | "ipv6-addr" | "ipv4-net" | "ipv6-net" | "cidr" => {
                    values(value, "ip", "")
                }
                other => Err(format!(
                    "an address of category {other:?} is not brought over"
                )),
            }
        }
        "DomainNameObjectType" => values(
            properties.child("Value").ok_or("a domain without Value")?,
            "domain",
            "domain-name:value",
        ),
        "HostnameObjectType" => values(
            properties
                .child("Hostname_Value")
                .ok_or("a host without Hostname_Value")?,
            "domain",
            "domain-name:value",
        ),
        "URIObjectType" => {
            let value = properties.child("Value").ok_or("a URI without Value")?;
            match properties.attribute("type") {
                Some("Domain Name") => values(value, "domain", "domain-name:value"),
                _ => values(value, "url", "url:value"),
            }
        }
        "LinkObjectType" => values(
            properties.child("Value").ok_or("a link without Value")?,
            "url",
            "url:value",
        ),
        "MutexObjectType" => values(
            properties.child("Name").ok_or("a mutex without Name")?,
            "mutex",
            "mutex:name",
        ),
        "FileObjectType" => file(properties, less),
        "WindowsRegistryKeyObjectType" => {
            let key = properties
                .child("Key")
                .filter(|key| !key.text.is_empty())
                .ok_or("a registry key without Key")?;
            for part in properties.child("Hive").into_iter().chain([key]) {
                let condition = part.attribute("condition").unwrap_or("Equals");
                if condition != "Equals" {
                    return Err(format!("condition {condition:?} is not brought over"));
                }
            }
            let hive = properties.text_at(&["Hive"]);
            let whole =
                hive.map_or_else(|| key.text.clone(), |hive| format!("{hive}\\{}", key.text));
            besides(properties, &["Key", "Hive"], less);
            Ok(Expression::One(vec![comparison("regkey", &whole)?]))
        }
        "EmailMessageObjectType" => {
            let header = properties
                .child("Header")
                .ok_or("a message without Header.From is not brought over")?;
            let from = header
                .at(&["From", "Address_Value"])
                .ok_or("a message without Header.From is not brought over")?;
            besides(properties, &["Header"], less);
            besides(header, &["From"], less);
            values(from, "email", "email-addr:value")
        }
        other => Err(format!("{other:?} is not brought over")),
    }
}

/// A value, or several of which one is enough (`apply_condition="ANY"`).
fn values(element: &Element, kind: &str, path: &str) -> Result<Expression, String> {
    let between = element.attribute("delimiter").unwrap_or("##comma##");
    let condition = element.attribute("condition").unwrap_or("Equals");
    let all = element
        .attribute("apply_condition")
        .is_some_and(|apply| apply == "ALL");
    let texts: Vec<&str> = element
        .text
        .split(between)
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .collect();
    if texts.is_empty() {
        return Err(format!("{} is empty", element.name));
    }
    if texts.len() > 1 && all {
        return Err("several values that must all be there are not brought over".to_owned());
    }
    let parts: Result<Vec<Expression>, String> = texts
        .into_iter()
        .map(|text| {
            let test = match condition {
                "Equals" => comparison(kind, text)?,
                "Contains" if !path.is_empty() => like(path, "contains", text),
                "StartsWith" if !path.is_empty() => like(path, "starts-with", text),
                "EndsWith" if !path.is_empty() => like(path, "ends-with", text),
                other => return Err(format!("condition {other:?} is not brought over")),
            };
            Ok(Expression::One(vec![test]))
        })
        .collect();
    let mut parts = parts?;
    Ok(match (parts.len(), parts.pop()) {
        (1, Some(one)) => one,
        (_, last) => {
            parts.extend(last);
            Expression::Any(parts)
        }
    })
}

/// The children of `element` that are not in `read`.
fn besides(element: &Element, read: &[&str], less: &mut Vec<String>) {
    for child in &element.children {
        if !read.contains(&child.name.as_str()) && !less.contains(&child.name) {
            less.push(child.name.clone());
        }
    }
}

/// All that is said of a file is of one file; of its hashes, any is enough to know it.
fn file(properties: &Element, less: &mut Vec<String>) -> Result<Expression, String> {
    let mut hashes = Vec::new();
    let list = properties.child("Hashes").map(|list| list.all("Hash"));
    for hash in list.into_iter().flatten() {
        let value = hash
            .child("Simple_Hash_Value")
            .or_else(|| hash.child("Fuzzy_Hash_Value"))
            .ok_or("a hash without Simple_Hash_Value")?;
        let said = hash.text_at(&["Type"]).unwrap_or_default();
        let kind = match (
            said.to_ascii_lowercase().replace('-', "").as_str(),
            value.text.len(),
        ) {
            ("md5", _) | ("" | "other", 32) => "md5",
            ("sha1", _) | ("" | "other", 40) => "sha1",
            ("sha256", _) | ("" | "other", 64) => "sha256",
            ("sha512", _) | ("" | "other", 128) => "sha512",
            ("ssdeep", _) => "ssdeep",
            (other, _) => return Err(format!("a hash of type {other:?} is not brought over")),
        };
        hashes.push(values(value, kind, "")?);
    }
    let name = match properties.child("File_Name") {
        Some(name) => Some(values(name, "filename", "file:name")?),
        None => None,
    };
    besides(properties, &["Hashes", "File_Name"], less);
    match (hashes.is_empty(), name) {
        (true, Some(name)) => Ok(name),
        (true, None) => Err("a file without hash or name is not brought over".to_owned()),
        (false, None) => Ok(Expression::Any(hashes)),
        (false, Some(name)) => {
            let group = |expression: &Expression| -> String {
                let tests = expression.tests();
                match tests.len() {
                    1 => tests.join(""),
                    _ => format!("({})", tests.join(" OR ")),
                }
            };
            Ok(Expression::One(vec![
                group(&Expression::Any(hashes)),
                group(&name),
            ]))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::tests::{about, all_good};
    use super::*;

    pub(crate) const PACKAGE: &str = r##"<stix:STIX_Package xmlns:stix="http://stix.mitre.org/stix-1" xmlns:xsi="x" version="1.2" id="e:p" timestamp="2026-01-02T03:04:05Z">
      <stix:STIX_Header><stix:Title>t</stix:Title><stix:Handling><marking:Marking><marking:Marking_Structure xsi:type="tlpMarking:TLPMarkingStructureType" color="AMBER"/></marking:Marking></stix:Handling></stix:STIX_Header>
      <stix:Observables><cybox:Observable id="e:o1"><cybox:Object><cybox:Properties xsi:type="DomainNameObj:DomainNameObjectType"><DomainNameObj:Value condition="Equals">Evil.example</DomainNameObj:Value></cybox:Properties></cybox:Object></cybox:Observable></stix:Observables>
      <stix:Indicators>
        <stix:Indicator id="e:i1" timestamp="2026-01-01T00:00:00.5Z"><indicator:Title>中繼站</indicator:Title>
          <indicator:Valid_Time_Position><indicator:Start_Time>2026-01-01T00:00:00Z</indicator:Start_Time><indicator:End_Time>2026-02-01T00:00:00Z</indicator:End_Time></indicator:Valid_Time_Position>
          <indicator:Observable><cybox:Observable_Composition operator="AND"><cybox:Observable idref="e:o1"/>
            <cybox:Observable><cybox:Object><cybox:Properties xsi:type="AddressObj:AddressObjectType" category="ipv4-addr"><AddressObj:Address_Value condition="Equals" apply_condition="ANY">198.51.100.7##comma##198.51.100.8</AddressObj:Address_Value></cybox:Properties></cybox:Object></cybox:Observable>
          </cybox:Observable_Composition></indicator:Observable><indicator:Confidence><stixCommon:Value>High</stixCommon:Value></indicator:Confidence></stix:Indicator>
        <stix:Indicator id="e:i2"><indicator:Observable><cybox:Object><cybox:Properties xsi:type="FileObj:FileObjectType"><FileObj:Hashes>
          <cyboxCommon:Hash><cyboxCommon:Type>MD5</cyboxCommon:Type><cyboxCommon:Simple_Hash_Value>d41d8cd98f00b204e9800998ecf8427e</cyboxCommon:Simple_Hash_Value></cyboxCommon:Hash></FileObj:Hashes></cybox:Properties></cybox:Object></indicator:Observable></stix:Indicator>
        <stix:Indicator id="e:i3"><indicator:Observable idref="e:nowhere"/></stix:Indicator>
      </stix:Indicators>
      <stix:TTPs><stix:TTP><ttp:Behavior><ttp:Malware><ttp:Malware_Instance><ttp:Name>PlugX</ttp:Name></ttp:Malware_Instance></ttp:Malware></ttp:Behavior></stix:TTP></stix:TTPs>
      <stix:Exploit_Targets><stixCommon:Exploit_Target><et:Vulnerability><et:CVE_ID>CVE-2026-1234</et:CVE_ID></et:Vulnerability></stixCommon:Exploit_Target></stix:Exploit_Targets>
    </stix:STIX_Package>"##;

    #[test]
    fn a_package_becomes_objects_of_2_1() {
        let got = stix1(PACKAGE, &about()).expect("a package");
        all_good(&got);
        let patterns: Vec<&str> = got
            .objects
            .iter()
            .filter_map(|object| object["pattern"].as_str())
            .collect();
        assert_eq!(
            patterns,
            [
                "[domain-name:value = 'evil.example'] AND ([ipv4-addr:value = '198.51.100.7'] OR [ipv4-addr:value = '198.51.100.8'])",
                "[file:hashes.'MD5' = 'd41d8cd98f00b204e9800998ecf8427e']"
            ]
        );
        assert_eq!(got.objects[0]["confidence"], 85);
        assert_eq!(got.objects[0]["valid_until"], "2026-02-01T00:00:00.000Z");
        assert_eq!(
            got.objects[0]["object_marking_refs"][0],
            Tlp::Amber.marking()
        );
        let kinds: Vec<&str> = got
            .objects
            .iter()
            .filter_map(|object| object["type"].as_str())
            .collect();
        assert_eq!(
            kinds,
            ["indicator", "indicator", "malware", "vulnerability"]
        );
        assert_eq!(
            got.left_out,
            [
                "STIX_Package.Indicators.Indicator[2].Observable[0]: e:nowhere is not in the package",
                "STIX_Package.Indicators.Indicator[2]: nothing in it can be said in a pattern"
            ]
        );
        let again = stix1(PACKAGE, &about()).expect("a package");
        assert_eq!(again.objects, got.objects, "the same ids");
    }

    fn patterns(got: &Imported) -> Vec<&str> {
        got.objects
            .iter()
            .filter_map(|object| object["pattern"].as_str())
            .collect()
    }

    #[test]
    fn what_is_negated_is_left_out_and_said() {
        let domain = |negate: &str, condition: &str, value: &str| {
            format!(
                r#"<Observable {negate}><Object><Properties type="DomainNameObjectType"><Value {condition}>{value}</Value></Properties></Object></Observable>"#
            )
        };
        let negated = r#"negate="true""#;
        let good = domain("", "", "good-site.example");
        let text = format!(
            r#"<STIX_Package version="1.2"><Observables>{}<Observable id="e:1" negate="1"><Object><Properties type="DomainNameObjectType"><Value>good-site.example</Value></Properties></Object></Observable></Observables><Indicators>
            <Indicator {negated}>{good}</Indicator>
            <Indicator>{}</Indicator>
            <Indicator><Observable idref="e:1"/></Indicator>
            <Indicator><Observable><Observable_Composition operator="AND">{}{}</Observable_Composition></Observable></Indicator>
            <Indicator><Observable><Observable_Composition operator="OR" negate="true">{good}</Observable_Composition></Observable></Indicator>
            <Indicator><Observable><Observable_Composition operator="OR">{}{}</Observable_Composition></Observable></Indicator>
            <Indicator><Composite_Indicator_Expression operator="AND"><Indicator>{}</Indicator><Indicator {negated}>{good}</Indicator></Composite_Indicator_Expression></Indicator>
            <Indicator><Observable><Object><Properties type="WindowsRegistryKeyObjectType"><Key condition="DoesNotEqual">Software</Key></Properties></Object></Observable></Indicator>
            <Indicator><Observable><Object><Properties type="FileObjectType"><File_Name condition="DoesNotEqual">a.exe</File_Name><Hashes><Hash><Type>MD5</Type><Simple_Hash_Value>d41d8cd98f00b204e9800998ecf8427e</Simple_Hash_Value></Hash></Hashes></Properties></Object></Observable></Indicator>
            </Indicators></STIX_Package>"#,
            domain("", "", "alone.example"),
            domain(negated, "", "good-site.example"),
            domain("", "", "a10.example"),
            domain("", r#"condition="DoesNotEqual""#, "good-site.example"),
            domain("", "", "evil.example"),
            domain(r#"negate="TRUE""#, "", "good-site.example"),
            domain("", "", "a11.example"),
        );
        let got = stix1(&text, &about()).expect("a package");
        assert_eq!(patterns(&got), ["[domain-name:value = 'evil.example']"]);
        let said = |index: usize, why: &str| {
            let place = format!("STIX_Package.Indicators.Indicator[{index}]");
            assert!(
                got.left_out
                    .iter()
                    .any(|line| line.starts_with(&place) && line.contains(why)),
                "{place} {why}: {:#?}",
                got.left_out
            );
        };
        for index in [0, 1, 2, 4, 5, 6] {
            said(index, NEGATED);
        }
        said(3, "DoesNotEqual");
        said(3, "1 of its 2 parts are left out with");
        said(6, "1 of its 2 parts are left out with");
        said(7, "DoesNotEqual");
        said(8, "DoesNotEqual");
        assert!(
            got.left_out
                .iter()
                .any(|line| line.starts_with("STIX_Package.Observables: 1 "))
        );
    }

    #[test]
    fn what_is_related_stays_related() {
        let text = r#"<STIX_Package version="1.2" timestamp="2026-01-02T03:04:05Z"><Indicators>
            <Indicator id="e:i"><Title>file</Title><Type>x</Type><Observable><Object><Properties type="FileObjectType"><File_Name>bad.exe</File_Name><Size_In_Bytes>7</Size_In_Bytes><Hashes><Hash><Type>MD5</Type><Simple_Hash_Value>d41d8cd98f00b204e9800998ecf8427e</Simple_Hash_Value></Hash></Hashes></Properties></Object></Observable>
              <Indicated_TTP><TTP idref="e:t"/></Indicated_TTP><Indicated_TTP><TTP idref="e:none"/></Indicated_TTP><Suggested_COAs><Suggested_COA><Course_Of_Action id="e:c2"><Title>watch</Title></Course_Of_Action></Suggested_COA></Suggested_COAs><Kill_Chain_Phases/></Indicator></Indicators>
            <TTPs><TTP id="e:t"><Title>t</Title><Behavior><Malware><Malware_Instance><Type>Remote Access Trojan</Type><Name>PoisonIvy</Name></Malware_Instance></Malware></Behavior>
              <Exploit_Targets><Exploit_Target><Exploit_Target idref="e:v"/></Exploit_Target></Exploit_Targets></TTP></TTPs>
            <Exploit_Targets><Exploit_Target id="e:v"><Vulnerability><CVE_ID>CVE-2026-1</CVE_ID></Vulnerability></Exploit_Target></Exploit_Targets>
            <Threat_Actors><Threat_Actor id="e:a"><Title>actor</Title><Observed_TTPs><Observed_TTP><TTP idref="e:t"/></Observed_TTP></Observed_TTPs></Threat_Actor></Threat_Actors>
            <Campaigns><Campaign id="e:p"><Title>camp</Title><Attribution><Attributed_Threat_Actor><Threat_Actor idref="e:a"/></Attributed_Threat_Actor></Attribution></Campaign></Campaigns>
            <Courses_Of_Action><Course_Of_Action id="e:c"><Title>block</Title></Course_Of_Action></Courses_Of_Action>
            <Incidents><Incident id="e:n"><Title>breach</Title><Victim/></Incident></Incidents></STIX_Package>"#;
        let got = stix1(text, &about()).expect("a package");
        all_good(&got);
        assert_eq!(
            patterns(&got),
            ["[file:hashes.'MD5' = 'd41d8cd98f00b204e9800998ecf8427e' AND file:name = 'bad.exe']"]
        );
        let name_of = |id: &Value| {
            let one = got.objects.iter().find(|object| object["id"] == *id);
            one.and_then(|one| one["name"].as_str()).unwrap_or("?")
        };
        let mut relations: Vec<String> = got
            .objects
            .iter()
            .filter(|object| object["type"] == "relationship")
            .map(|one| {
                let word = one["relationship_type"].as_str().unwrap_or_default();
                format!(
                    "{} {word} {}",
                    name_of(&one["source_ref"]),
                    name_of(&one["target_ref"])
                )
            })
            .collect();
        relations.sort();
        assert_eq!(
            relations,
            [
                "PoisonIvy exploits CVE-2026-1",
                "actor uses PoisonIvy",
                "camp attributed-to actor",
                "file indicates PoisonIvy",
                "watch mitigates file",
            ]
        );
        let one = |kind: &str| got.objects.iter().find(|object| object["type"] == kind);
        let malware = one("malware").expect("malware");
        assert_eq!(malware["malware_types"], json!(["remote-access-trojan"]));
        assert_eq!(one("incident").expect("incident")["name"], "breach");
        assert_eq!(
            got.left_out,
            [
                "STIX_Package.Indicators.Indicator[0].Observable[0]: the pattern does not say Size_In_Bytes",
                "STIX_Package.Indicators.Indicator[0]: Kill_Chain_Phases not brought over",
                "STIX_Package.Incidents.Incident[0]: Victim not brought over",
                "STIX_Package.Indicators.Indicator[0].Indicated_TTP.TTP: e:none is not in the package, or not brought over",
            ]
        );
        let again = stix1(text, &about()).expect("a package");
        assert_eq!(again.objects, got.objects, "the same ids");
    }

    #[test]
    fn references_in_a_circle_end() {
        let text = r#"<STIX_Package version="1.2"><Observables><Observable id="a"><Observable_Composition operator="OR"><Observable idref="b"/><Observable idref="b"/></Observable_Composition></Observable>
          <Observable id="b"><Observable_Composition operator="OR"><Observable idref="a"/><Observable idref="a"/></Observable_Composition></Observable></Observables>
          <Indicators><Indicator><Observable idref="a"/></Indicator></Indicators></STIX_Package>"#;
        let got = stix1(text, &about()).expect("a package");
        assert!(got.objects.is_empty() && !got.left_out.is_empty());
        assert!(got.left_out.len() <= PARTS_MAX + 2);
        assert!(stix1("<x/>", &about()).is_err());
        assert!(stix1("<STIX_Package version='2.0'/>", &about()).is_err());
    }
}
