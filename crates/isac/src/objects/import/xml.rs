//! XML read into a bounded tree. Names lose their prefix: what is read here is told
//! apart by its names alone. A document type is refused, so that there are no entities
//! to expand and nothing to fetch; the five predefined references and those to
//! characters are read.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::{BYTES_MAX, ImportError, wrong};

/// Elements of one document.
pub const ELEMENTS_MAX: usize = 1_000_000;
/// Depth of elements within each other.
pub const DEPTH_MAX: usize = 64;
/// Attributes of one element.
const ATTRIBUTES_MAX: usize = 64;

/// An element.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    /// Its name without prefix.
    pub name: String,
    /// Its attributes, without prefix.
    pub attributes: Vec<(String, String)>,
    /// The elements in it.
    pub children: Vec<Element>,
    /// The text in it, that of its children left out, trimmed.
    pub text: String,
}

impl Element {
    /// The first child of that name.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The children of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The element at the end of a path of names.
    pub fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter()
            .try_fold(self, |element, name| element.child(name))
    }

    /// The text at the end of a path; `None` when it is empty.
    pub fn text_at(&self, path: &[&str]) -> Option<&str> {
        let text = self.at(path)?.text.as_str();
        (!text.is_empty()).then_some(text)
    }

    /// The attribute of that name.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find_map(|(known, value)| (known == name).then_some(value.as_str()))
    }
}

/// Reads one document; returns its outermost element.
///
/// # Errors
/// Where and why it is no XML that is read here.
pub fn parse(text: &str) -> Result<Element, ImportError> {
    if text.len() > BYTES_MAX {
        return Err(wrong(
            "document",
            format!("must have at most {BYTES_MAX} bytes"),
        ));
    }
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let mut open: Vec<Element> = Vec::new();
    let mut root: Option<Element> = None;
    let mut count = 0;
    loop {
        let at = reader.buffer_position();
        let place = || format!("byte {at}");
        let event = reader
            .read_event()
            .map_err(|error| wrong(&place(), error.to_string()))?;
        let (start, ends) = match event {
            Event::Start(start) => (start, false),
            Event::Empty(start) => (start, true),
            Event::End(_) => {
                close(&mut open, &mut root);
                continue;
            }
            Event::Text(piece) => {
                add(&mut open, &piece.xml10_content());
                continue;
            }
            Event::CData(piece) => {
                add(&mut open, &piece.xml10_content());
                continue;
            }
            Event::GeneralRef(reference) => {
                let name = reference.xml10_content();
                let known = match name.as_ref() {
                    "amp" => Some('&'),
                    "lt" => Some('<'),
                    "gt" => Some('>'),
                    "quot" => Some('"'),
                    "apos" => Some('\''),
                    _ => reference.resolve_char_ref().ok().flatten(),
                };
                let Some(c) = known else {
                    return Err(wrong(&place(), "must refer to no entities of its own"));
                };
                add(&mut open, c.encode_utf8(&mut [0; 4]));
                continue;
            }
            Event::DocType(_) => {
                return Err(wrong(&place(), "must have no document type"));
            }
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => continue,
        };
        count += 1;
        if count > ELEMENTS_MAX {
            let rule = format!("must not follow {ELEMENTS_MAX} other elements");
            return Err(wrong(&place(), rule));
        }
        if open.len() >= DEPTH_MAX {
            let rule = format!("must be at most {DEPTH_MAX} elements deep");
            return Err(wrong(&place(), rule));
        }
        if open.is_empty() && root.is_some() {
            return Err(wrong(&place(), "must be in the one outermost element"));
        }
        open.push(element(&start).map_err(|rule| wrong(&place(), rule))?);
        if ends {
            close(&mut open, &mut root);
        }
    }
    match (open.pop(), root) {
        (Some(left), _) => Err(wrong(&left.name, "must be ended")),
        (None, Some(root)) => Ok(root),
        (None, None) => Err(wrong("document", "must have an element")),
    }
}

fn element(start: &BytesStart<'_>) -> Result<Element, String> {
    let mut made = Element {
        name: start.local_name().as_ref().to_string(),
        ..Element::default()
    };
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        if made.attributes.len() >= ATTRIBUTES_MAX {
            return Err(format!("must have at most {ATTRIBUTES_MAX} attributes"));
        }
        let value = attribute
            .normalized_value(quick_xml::XmlVersion::Explicit1_0)
            .map_err(|error| error.to_string())?;
        made.attributes.push((
            attribute.key.local_name().as_ref().to_string(),
            value.into_owned(),
        ));
    }
    Ok(made)
}

fn add(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

fn close(open: &mut Vec<Element>, root: &mut Option<Element>) {
    // The reader has checked that ends fit beginnings.
    let Some(mut done) = open.pop() else { return };
    let trimmed = done.text.trim();
    if trimmed.len() != done.text.len() {
        done.text = trimmed.to_owned();
    }
    match open.last_mut() {
        Some(parent) => parent.children.push(done),
        None => *root = Some(done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_attributes_and_text() {
        let text = "\u{feff}<?xml version=\"1.0\"?><!-- c --><a:x b:c='1 &amp; 2'> t&#x4e2d;&lt;<y/><![CDATA[<z>]]> </a:x>";
        let root = parse(text).expect("XML");
        assert_eq!((root.name.as_str(), root.text.as_str()), ("x", "t中<<z>"));
        assert_eq!(root.attribute("c"), Some("1 & 2"));
        assert!(root.child("y").is_some() && root.text_at(&["y"]).is_none());
    }

    #[test]
    fn entities_depth_and_broken_documents_are_refused() {
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><x>&b;</x>";
        assert!(parse(bomb).is_err_and(|e| e.rule.contains("document type")));
        assert!(parse("<x>&b;</x>").is_err_and(|e| e.rule.contains("entities")));
        assert!(parse("<x a='&b;'/>").is_err());
        let deep = "<x>".repeat(100);
        assert!(parse(&deep).is_err_and(|e| e.rule.contains("deep")));
        for text in [
            "",
            "x",
            "<x>",
            "<x></y>",
            "<x/><y/>",
            "<x a=1/>",
            "<x a='1' a='2'/>",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
