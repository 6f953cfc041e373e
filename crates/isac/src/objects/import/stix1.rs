//! STIX 1.0 to 1.2 (XML, with CybOX 2 observables) brought to 2.1: indicators with their
//! observables and compositions, malware and attack patterns of TTPs, threat actors,
//! campaigns and vulnerabilities of exploit targets. What is left out is said by path.

use std::collections::HashMap;

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
        out: Imported::default(),
        parts: 0,
    };
    package.index(&root, 0);
    let lists: [(&str, &str, Maker<'_>); 5] = [
        ("Indicators", "Indicator", Package::indicator),
        ("TTPs", "TTP", Package::ttp),
        ("Threat_Actors", "Threat_Actor", Package::actor),
        ("Campaigns", "Campaign", Package::campaign),
        ("Exploit_Targets", "Exploit_Target", Package::target),
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
    for list in ["Incidents", "Courses_Of_Action"] {
        if let Some(list) = root.child(list) {
            package.out.left_out.push(format!(
                "STIX_Package.{}: {} items are not brought over",
                list.name,
                list.children.len()
            ));
        }
    }
    Ok(package.out)
}

type Maker<'a> = fn(&mut Package<'a>, &Element, &str);

struct Package<'a> {
    about: About,
    /// Observables and objects by id, for references.
    observables: HashMap<&'a str, &'a Element>,
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

    /// The common properties of an object made from `element`.
    fn base(&self, kind: &str, element: &Element, name: &str) -> Value {
        let at = element
            .attribute("timestamp")
            .and_then(about_time)
            .unwrap_or(self.about.now);
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

    fn indicator(&mut self, element: &Element, place: &str) {
        if let Some(idref) = element.attribute("idref") {
            return self.leave(place, format!("refers to {idref}"));
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
        let at = element
            .attribute("timestamp")
            .and_then(about_time)
            .unwrap_or(self.about.now);
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
        self.out.objects.push(made);
    }

    fn composite(&mut self, whole: &Element, place: &str, depth: usize) -> Expression {
        self.parts += 1;
        if depth > DEPTH_MAX || self.parts > PARTS_MAX {
            self.leave(place, "it is too deep or too large");
            return Expression::Unknown;
        }
        let mut parts = Vec::new();
        for (index, one) in whole.all("Indicator").enumerate() {
            let place = format!("{place}.Indicator[{index}]");
            let inner: Vec<Expression> = one
                .all("Observable")
                .map(|observable| self.observable(observable, &place, depth + 1))
                .collect();
            parts.push(match inner.is_empty() {
                true => {
                    self.leave(&place, "it has no observable of its own");
                    Expression::Unknown
                }
                false => Expression::Any(inner),
            });
        }
        joined(whole, parts)
    }

    fn observable(&mut self, element: &Element, place: &str, depth: usize) -> Expression {
        self.parts += 1;
        if depth > DEPTH_MAX || self.parts > PARTS_MAX {
            self.leave(place, "it is too deep or too large");
            return Expression::Unknown;
        }
        if let Some(idref) = element.attribute("idref") {
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
            return joined(whole, parts);
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
        let made = object
            .child("Properties")
            .ok_or_else(|| "it has no properties".to_owned())
            .and_then(properties);
        made.unwrap_or_else(|why| {
            self.leave(place, why);
            Expression::Unknown
        })
    }

    fn ttp(&mut self, element: &Element, place: &str) {
        let mut found = false;
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
            self.out.objects.push(made);
            found = true;
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
            self.out.objects.push(made);
            found = true;
        }
        if !found {
            self.leave(place, "it names neither malware nor attack pattern");
        }
    }

    fn actor(&mut self, element: &Element, place: &str) {
        let name = element
            .text_at(&["Title"])
            .or_else(|| element.text_at(&["Identity", "Name"]));
        match name {
            Some(name) => {
                let made = self.base("threat-actor", element, name);
                self.out.objects.push(made);
            }
            None => self.leave(place, "it has neither title nor name"),
        }
    }

    fn campaign(&mut self, element: &Element, place: &str) {
        let name = element
            .text_at(&["Title"])
            .or_else(|| element.text_at(&["Names", "Name"]));
        match name {
            Some(name) => {
                let made = self.base("campaign", element, name);
                self.out.objects.push(made);
            }
            None => self.leave(place, "it has neither title nor name"),
        }
    }

    fn target(&mut self, element: &Element, place: &str) {
        let mut found = false;
        for weakness in element.all("Vulnerability") {
            let cve = weakness.text_at(&["CVE_ID"]);
            let Some(name) = cve.or_else(|| weakness.text_at(&["Title"])) else {
                continue;
            };
            let mut made = self.base("vulnerability", weakness, name);
            if let Some(cve) = cve {
                made["external_references"] = json!([{"source_name": "cve", "external_id": cve}]);
            }
            self.out.objects.push(made);
            found = true;
        }
        if !found {
            self.leave(place, "it names no vulnerability");
        }
    }
}

fn joined(whole: &Element, parts: Vec<Expression>) -> Expression {
    let negated = whole
        .attribute("negate")
        .is_some_and(|negate| negate == "true" || negate == "1");
    match (negated, whole.attribute("operator")) {
        (true, _) => Expression::Unknown,
        (false, Some("AND")) => Expression::All(parts),
        _ => Expression::Any(parts),
    }
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

/// What the properties of an object of CybOX look for.
fn properties(properties: &Element) -> Result<Expression, String> {
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
        "FileObjectType" => file(properties),
        "WindowsRegistryKeyObjectType" => {
            let key = properties
                .text_at(&["Key"])
                .ok_or("a registry key without Key")?;
            let hive = properties.text_at(&["Hive"]);
            let whole = hive.map_or_else(|| key.to_owned(), |hive| format!("{hive}\\{key}"));
            Ok(Expression::One(vec![comparison("regkey", &whole)?]))
        }
        "EmailMessageObjectType" => {
            let from = properties
                .at(&["Header", "From", "Address_Value"])
                .ok_or("a message without Header.From is not brought over")?;
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

/// All that is said of a file is of one file; of its hashes, any is enough to know it.
fn file(properties: &Element) -> Result<Expression, String> {
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
            (other, _) => return Err(format!("a hash of type {other:?} is not brought over")),
        };
        hashes.push(values(value, kind, "")?);
    }
    if !hashes.is_empty() {
        return Ok(Expression::Any(hashes));
    }
    match properties.child("File_Name") {
        Some(name) => values(name, "filename", "file:name"),
        None => Err("a file without hash or name is not brought over".to_owned()),
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
