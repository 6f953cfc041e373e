//! OpenIOC 1.0 and 1.1 (XML): an indicator of STIX for each `ioc`. Items that no pattern
//! can say are left out of alternatives, and take along the group that needs them.

use super::expression::Expression;
use super::xml::{self, Element};
use super::{About, ImportError, Imported, about_time, comparison, indicator, like, wrong};

/// Depth of groups within each other.
const DEPTH_MAX: usize = 20;

/// An OpenIOC document, or several in one element.
///
/// # Errors
/// When it is no OpenIOC.
pub fn openioc(text: &str, about: &About) -> Result<Imported, ImportError> {
    let root = xml::parse(text)?;
    let documents: Vec<&Element> = match root.name.as_str() {
        "ioc" | "OpenIOC" => vec![&root],
        _ => root
            .children
            .iter()
            .filter(|child| matches!(child.name.as_str(), "ioc" | "OpenIOC"))
            .collect(),
    };
    if documents.is_empty() {
        return Err(wrong(
            &root.name,
            "must be ioc (OpenIOC 1.0) or OpenIOC (1.1)",
        ));
    }
    let mut out = Imported::default();
    for (index, document) in documents.into_iter().enumerate() {
        let place = format!("{}[{index}]", document.name);
        let meta = document.child("metadata").unwrap_or(document);
        let name = meta.text_at(&["short_description"]).unwrap_or("OpenIOC");
        let groups = document
            .child("definition")
            .or_else(|| document.child("criteria"));
        let Some(groups) = groups else {
            return Err(wrong(&place, "must have definition or criteria"));
        };
        let mut parts = Vec::new();
        for (at, group) in groups.all("Indicator").enumerate() {
            let place = format!("{place}.Indicator[{at}]");
            parts.push(read(group, &place, &mut out.left_out, 0)?);
        }
        let time = document
            .attribute("last-modified")
            .or_else(|| meta.attribute("last-modified"))
            .and_then(about_time)
            .unwrap_or(about.now);
        match Expression::Any(parts).known() {
            Some(known) => {
                let mut made = indicator(&known.pattern(), name, time, about);
                if let Some(text) = meta.text_at(&["description"]) {
                    made["description"] = text.into();
                }
                if let Some(id) = document.attribute("id").filter(|id| !id.is_empty()) {
                    made["external_references"] =
                        serde_json::json!([{"source_name": "OpenIOC", "external_id": id}]);
                }
                out.objects.push(made);
            }
            None => out
                .left_out
                .push(format!("{place}: nothing in it can be said in a pattern")),
        }
    }
    Ok(out)
}

fn read(
    group: &Element,
    place: &str,
    left_out: &mut Vec<String>,
    depth: usize,
) -> Result<Expression, ImportError> {
    if depth > DEPTH_MAX {
        let rule = format!("must be at most {DEPTH_MAX} groups deep");
        return Err(wrong(place, rule));
    }
    let mut parts = Vec::new();
    for (index, child) in group.children.iter().enumerate() {
        let place = format!("{place}.{}[{index}]", child.name);
        match child.name.as_str() {
            "Indicator" => parts.push(read(child, &place, left_out, depth + 1)?),
            "IndicatorItem" => parts.push(item(child).unwrap_or_else(|why| {
                left_out.push(format!("{place}: {why}"));
                Expression::Unknown
            })),
            _ => {}
        }
    }
    let operator = group.attribute("operator").unwrap_or("OR");
    match operator.to_ascii_uppercase().as_str() {
        "AND" => {
            let lost = Expression::lost(&parts);
            if lost > 0 {
                left_out.push(format!(
                    "{place}: {lost} of its {} items are left out with what they need beside them",
                    parts.len()
                ));
            }
            Ok(Expression::All(parts))
        }
        "OR" => Ok(Expression::Any(parts)),
        _ => Err(wrong(
            place,
            format!("operator {operator:?}: must be AND or OR"),
        )),
    }
}

fn item(item: &Element) -> Result<Expression, String> {
    let search = item
        .child("Context")
        .and_then(|context| context.attribute("search"))
        .ok_or("must have a Context with search")?;
    let value = item
        .text_at(&["Content"])
        .ok_or("must have a Content that is not empty")?;
    let negated = item
        .attribute("negate")
        .is_some_and(|negate| negate.eq_ignore_ascii_case("true"));
    let condition = item.attribute("condition").unwrap_or("is");
    if negated || condition.ends_with("not") {
        return Err("what must not be there cannot be looked for".to_owned());
    }
    let last = search.to_ascii_lowercase();
    let (kind, path) = match last.as_str() {
        "fileitem/md5sum" | "processitem/md5sum" | "driveritem/md5sum" => ("md5", ""),
        "fileitem/sha1sum" => ("sha1", ""),
        "fileitem/sha256sum" => ("sha256", ""),
        "fileitem/filename" | "processitem/name" => ("filename", "file:name"),
        "portitem/remoteip"
        | "routeentryitem/destination"
        | "network/ip"
        | "dnsentryitem/recorddata/ipv4address" => ("ip", ""),
        "network/dns" | "dnsentryitem/host" | "dnsentryitem/recordname" => {
            ("domain", "domain-name:value")
        }
        "urlhistoryitem/url" | "network/uri" | "formhistoryitem/url" => ("url", "url:value"),
        "email/from" | "email/to" => ("email", "email-addr:value"),
        "processitem/handlelist/handle/name" | "mutexitem/name" => ("mutex", "mutex:name"),
        "registryitem/path" | "registryitem/keypath" => ("regkey", "windows-registry-key:key"),
        _ => return Err(format!("{search} is not brought over")),
    };
    match condition {
        "is" => Ok(Expression::One(vec![comparison(kind, value)?])),
        "contains" | "starts-with" | "ends-with" if !path.is_empty() => {
            Ok(Expression::One(vec![like(path, condition, value)]))
        }
        _ => Err(format!(
            "condition {condition:?} is not brought over for {search}"
        )),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::tests::{about, all_good};
    use super::*;

    pub(crate) const IOC: &str = r#"<?xml version="1.0"?><ioc xmlns="http://schemas.mandiant.com/2010/ioc" id="ea3cab0c" last-modified="2026-01-02T03:04:05">
      <short_description>Zeus</short_description><description>Finds Zeus</description><definition><Indicator operator="OR">
        <IndicatorItem condition="is"><Context document="FileItem" search="FileItem/Md5sum" type="mir"/><Content type="md5">d41d8cd98f00b204e9800998ecf8427e</Content></IndicatorItem>
        <IndicatorItem condition="contains"><Context search="Network/DNS"/><Content>evil.example</Content></IndicatorItem>
        <IndicatorItem condition="is"><Context search="ServiceItem/descriptiveName"/><Content>x</Content></IndicatorItem>
        <Indicator operator="AND"><IndicatorItem condition="is"><Context search="FileItem/FileName"/><Content>a'.exe</Content></IndicatorItem>
          <IndicatorItem condition="is"><Context search="PortItem/remoteIP"/><Content>198.51.100.7</Content></IndicatorItem></Indicator>
        <Indicator operator="AND"><IndicatorItem condition="is"><Context search="FileItem/FileName"/><Content>b.exe</Content></IndicatorItem>
          <IndicatorItem condition="isnot"><Context search="FileItem/FileName"/><Content>c.exe</Content></IndicatorItem></Indicator>
      </Indicator></definition></ioc>"#;

    #[test]
    fn a_document_becomes_one_indicator_that_fits_no_more() {
        let got = openioc(IOC, &about()).expect("OpenIOC");
        all_good(&got);
        assert_eq!(
            got.objects[0]["pattern"],
            "[file:hashes.'MD5' = 'd41d8cd98f00b204e9800998ecf8427e'] OR [domain-name:value LIKE '%evil.example%'] OR ([file:name = 'a\\'.exe'] AND [ipv4-addr:value = '198.51.100.7'])"
        );
        assert_eq!(got.objects[0]["created"], "2026-01-02T03:04:05.000Z");
        assert_eq!(got.left_out.len(), 3);
        assert_eq!(
            got.left_out[2],
            "ioc[0].Indicator[0].Indicator[4]: 1 of its 2 items are left out with what they need beside them"
        );
        assert!(got.left_out[0].starts_with("ioc[0].Indicator[0].IndicatorItem[2]: ServiceItem"));
        assert!(openioc("<x/>", &about()).is_err());
        assert!(openioc("<ioc/>", &about()).is_err());
    }
}
