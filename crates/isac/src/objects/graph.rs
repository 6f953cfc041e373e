//! What an object is related to: read from the store within bounds, laid out in rings,
//! drawn as SVG by the server. Those who do not see it read the same as a table.

use std::collections::{HashMap, HashSet};
use std::f64::consts::TAU;
use std::fmt::Write as _;

use serde_json::Value;
use web::ui::{self, Markup};

use super::search::{Hit, Query, See};
use super::{Objects, ObjectsError};

/// Objects in one picture.
pub const NODES_MAX: usize = 40;
/// Objects drawn around one object.
const AROUND_MAX: usize = 14;
/// Objects that refer to one object which are looked at.
const REFERRERS_MAX: usize = 300;
/// References of one object that are followed.
const REFERENCES_MAX: usize = 300;

/// A relation of two objects.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Edge {
    /// From which.
    pub from: String,
    /// To which.
    pub to: String,
    /// The relationship's type, or the property's name.
    pub label: String,
    /// The relationship object, where it is one.
    pub via: Option<String>,
}

/// The neighbourhood of an object.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// The object in the middle.
    pub root: String,
    /// Objects, by id; only those that the reader may see.
    pub nodes: HashMap<String, Hit>,
    /// How far each is from the middle, in the order in which they were found.
    pub order: Vec<(String, u8, String)>,
    /// Relations among them.
    pub edges: Vec<Edge>,
    /// Whether there is more than is shown.
    pub more: bool,
}

impl Objects {
    /// The relations of `hit`, both ways, as far as `see` goes; and whether there are more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn relations(
        &self,
        see: &[See],
        hit: &Hit,
    ) -> Result<(Vec<Edge>, bool), ObjectsError> {
        let mut edges = forward(&hit.id, &hit.object());
        let query = Query {
            refers_to: Some(hit.id.clone()),
            ..Query::default()
        };
        let found = self.find(see, &query, None, REFERRERS_MAX).await?;
        let more = found.next.is_some() || edges.len() > REFERENCES_MAX;
        edges.truncate(REFERENCES_MAX);
        for other in &found.hits {
            for edge in forward(&other.id, &other.object()) {
                if edge.from == hit.id || edge.to == hit.id {
                    edges.push(edge);
                }
            }
        }
        let mut known = HashSet::new();
        edges.retain(|edge| known.insert(edge.clone()));
        Ok((edges, more))
    }

    /// Two steps around `hit`, within bounds.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn graph(&self, see: &[See], hit: &Hit) -> Result<Graph, ObjectsError> {
        let mut graph = Graph {
            root: hit.id.clone(),
            ..Graph::default()
        };
        graph.nodes.insert(hit.id.clone(), hit.clone());
        graph.order.push((hit.id.clone(), 0, String::new()));
        let mut ring = vec![hit.clone()];
        for step in 1..=2_u8 {
            let mut next = Vec::new();
            for centre in &ring {
                let (edges, more) = self.relations(see, centre).await?;
                graph.more |= more;
                let fresh: Vec<String> = edges
                    .iter()
                    .map(|edge| other(edge, &centre.id).to_owned())
                    .filter(|id| !graph.nodes.contains_key(id))
                    .collect();
                let there = self.latest_of(see, &fresh).await?;
                let mut around = 0;
                for edge in edges {
                    let id = other(&edge, &centre.id).to_owned();
                    if !graph.nodes.contains_key(&id) {
                        let Some(hit) = there.get(&id) else { continue };
                        if around >= AROUND_MAX || graph.nodes.len() >= NODES_MAX {
                            graph.more = true;
                            continue;
                        }
                        around += 1;
                        graph.nodes.insert(id.clone(), hit.clone());
                        graph.order.push((id, step, centre.id.clone()));
                        next.push(hit.clone());
                    }
                    graph.edges.push(edge);
                }
            }
            ring = next;
        }
        let mut known = HashSet::new();
        graph.edges.retain(|edge| known.insert(edge.clone()));
        Ok(graph)
    }
}

fn other<'a>(edge: &'a Edge, id: &str) -> &'a str {
    if edge.from == id {
        &edge.to
    } else {
        &edge.from
    }
}

/// What an object itself says about relations.
fn forward(id: &str, object: &Value) -> Vec<Edge> {
    let text = |name: &str| object[name].as_str();
    if let ("relationship", Some(from), Some(to)) = (
        text("type").unwrap_or_default(),
        text("source_ref"),
        text("target_ref"),
    ) {
        return vec![Edge {
            from: from.to_owned(),
            to: to.to_owned(),
            label: text("relationship_type").unwrap_or("related-to").to_owned(),
            via: Some(id.to_owned()),
        }];
    }
    let mut edges = Vec::new();
    let Some(map) = object.as_object() else {
        return edges;
    };
    for (name, value) in map {
        let label = match name
            .strip_suffix("_refs")
            .or_else(|| name.strip_suffix("_ref"))
        {
            Some(label) if label != "object_marking" => label,
            _ => continue,
        };
        let mut add = |to: &str| {
            edges.push(Edge {
                from: id.to_owned(),
                to: to.to_owned(),
                label: label.replace('_', "-"),
                via: None,
            });
        };
        match value {
            Value::String(to) => add(to),
            Value::Array(items) => items.iter().filter_map(Value::as_str).for_each(add),
            _ => {}
        }
    }
    edges
}

/// A short name of an object: its name, value or pattern, otherwise its type.
pub fn title(hit: &Hit) -> String {
    let object = hit.object();
    let text = |name: &str| object[name].as_str().filter(|text| !text.trim().is_empty());
    let named = [
        "name", "value", "path", "subject", "key", "pattern", "opinion", "abstract",
    ];
    if let Some(text) = named.into_iter().find_map(text) {
        return text.chars().take(200).collect();
    }
    if let Some((name, hex)) = object["hashes"]
        .as_object()
        .and_then(|map| map.iter().next())
    {
        return format!("{name} {}", hex.as_str().unwrap_or_default());
    }
    let end = hit.id.split("--").nth(1).unwrap_or(&hit.id);
    format!("{} {}", hit.kind, end.chars().take(8).collect::<String>())
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 640.0;
/// Characters of a label in the picture.
const LABEL_CHARS_MAX: usize = 22;

impl Graph {
    /// Where each object stands: the middle, a ring, an outer ring near its parent.
    fn places(&self) -> HashMap<&str, (f64, f64, f64)> {
        let mut places: HashMap<&str, (f64, f64, f64)> = HashMap::new();
        places.insert(&self.root, (WIDTH / 2.0, HEIGHT / 2.0, 0.0));
        let first: Vec<&str> = self.at(1).map(|(id, _)| id).collect();
        // A sector for each of the first ring, as wide as what hangs on it.
        let weight = |id: &str| 1.0 + self.at(2).filter(|(_, parent)| *parent == id).count() as f64;
        let total: f64 = first.iter().map(|id| weight(id)).sum();
        // Without an outer ring there is room.
        let inner = match self.at(2).next() {
            Some(_) => 0.52,
            None => 0.86,
        };
        let mut begin = -TAU / 4.0;
        for id in first {
            let wide = TAU * weight(id) / total.max(1.0);
            let angle = begin + wide / 2.0;
            places.insert(id, on_ring(angle, inner));
            let outer: Vec<&str> = self
                .at(2)
                .filter(|(_, parent)| *parent == id)
                .map(|(id, _)| id)
                .collect();
            for (index, child) in outer.iter().enumerate() {
                let share = (index as f64 + 0.5) / outer.len() as f64;
                places.insert(child, on_ring(begin + wide * share, 0.92));
            }
            begin += wide;
        }
        places
    }

    fn at(&self, ring: u8) -> impl Iterator<Item = (&str, &str)> {
        self.order
            .iter()
            .filter(move |(_, at, _)| *at == ring)
            .map(|(id, _, parent)| (id.as_str(), parent.as_str()))
    }

    /// The picture; `kind` gives a type's name, `path` an object's page.
    pub fn svg(
        &self,
        label: &str,
        kind: impl Fn(&str) -> String,
        path: impl Fn(&str) -> String,
    ) -> Markup {
        let places = self.places();
        let mut out = format!(
            "<figure class=\"map\"><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"group\" aria-label=\"{}\">",
            ui::escape(label)
        );
        for edge in &self.edges {
            let (Some(from), Some(to)) = (places.get(&*edge.from), places.get(&*edge.to)) else {
                continue;
            };
            // Writing to a string does not fail.
            let _ok = write!(
                out,
                "<g><title>{}</title><line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"var(--line)\" stroke-width=\"1.5\"/></g>",
                ui::escape(&edge.label),
                from.0,
                from.1,
                to.0,
                to.1
            );
            let near = edge.from == self.root || edge.to == self.root;
            if near && self.at(1).count() <= 8 {
                let _ok = write!(
                    out,
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"11\" fill=\"var(--text-soft)\" stroke=\"none\">{}</text>",
                    (from.0 + to.0) / 2.0,
                    (from.1 + to.1) / 2.0 - 3.0,
                    ui::escape(&edge.label)
                );
            }
        }
        for (id, ring, _) in &self.order {
            let (Some(place), Some(hit)) = (places.get(id.as_str()), self.nodes.get(id)) else {
                continue;
            };
            node(&mut out, hit, *ring, *place, &kind(&hit.kind), &path(id));
        }
        out.push_str("</svg></figure>");
        Markup::new(out)
    }
}

fn on_ring(angle: f64, share: f64) -> (f64, f64, f64) {
    (
        WIDTH / 2.0 + (WIDTH / 2.0 - 90.0) * share * angle.cos(),
        HEIGHT / 2.0 + (HEIGHT / 2.0 - 30.0) * share * angle.sin(),
        angle,
    )
}

fn node(out: &mut String, hit: &Hit, ring: u8, at: (f64, f64, f64), kind: &str, path: &str) {
    let (x, y, _) = at;
    let name = title(hit);
    let short: String = match name.chars().count() > LABEL_CHARS_MAX {
        true => name
            .chars()
            .take(LABEL_CHARS_MAX - 1)
            .chain(std::iter::once('…'))
            .collect(),
        false => name.clone(),
    };
    let size = if ring == 0 {
        13.0
    } else {
        9.0 - f64::from(ring)
    };
    // Shape says the family, besides colour: what attacks, what defends, what is seen.
    let (shape, colour) = match hit.kind.as_str() {
        "indicator" | "sighting" | "observed-data" => (
            format!(
                "<path d=\"M{x:.1} {:.1}l{size} {:.1}h-{:.1}z\"/>",
                y - size,
                size * 1.8,
                size * 2.0
            ),
            "--warn",
        ),
        "malware" | "threat-actor" | "intrusion-set" | "campaign" | "attack-pattern" | "tool"
        | "vulnerability" => (
            format!(
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                x - size,
                y - size,
                size * 2.0,
                size * 2.0
            ),
            "--bad",
        ),
        "course-of-action" | "identity" | "report" | "note" | "opinion" | "grouping" => (
            format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{size}\"/>"),
            "--good",
        ),
        _ => (
            format!(
                "<path d=\"M{x:.1} {:.1}l{size} {size}l-{size} {size}l-{size} -{size}z\"/>",
                y - size
            ),
            "--info",
        ),
    };
    let below = y + size + 13.0;
    // Writing to a string does not fail.
    let _ok = write!(
        out,
        "<a href=\"{}\"><g fill=\"var({colour})\" stroke=\"var(--surface)\"><title>{}</title>{shape}<text x=\"{x:.1}\" y=\"{below:.1}\" text-anchor=\"middle\" font-size=\"{}\" fill=\"var(--text)\" stroke=\"none\">{}</text></g></a>",
        ui::escape(path),
        ui::escape(&format!("{kind}: {name}")),
        if ring == 0 { 14 } else { 12 },
        ui::escape(&short)
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_say_their_relations() {
        let edges = forward(
            "relationship--1",
            &json!({"type": "relationship", "source_ref": "a--1", "target_ref": "b--2", "relationship_type": "uses", "created_by_ref": "c--3"}),
        );
        assert_eq!(edges.len(), 1);
        assert_eq!(
            (
                edges[0].from.as_str(),
                edges[0].to.as_str(),
                edges[0].label.as_str()
            ),
            ("a--1", "b--2", "uses")
        );
        let edges = forward(
            "report--1",
            &json!({"type": "report", "object_refs": ["a--1", "b--2"], "object_marking_refs": ["m--1"]}),
        );
        assert_eq!(edges.len(), 2);
        assert!(edges.iter().all(|edge| edge.label == "object"));
        assert!(forward("x--1", &json!(7)).is_empty());
    }

    #[test]
    fn nothing_from_an_object_becomes_markup_in_the_picture() {
        let evil = "<script>\"'&";
        let hit = Hit {
            seq: 1,
            collection: 1,
            id: format!("indicator--{evil}"),
            kind: "indicator".into(),
            tlp: crate::stix::Tlp::Clear,
            version: 1,
            latest: true,
            source: None,
            json: json!({"name": evil}).to_string(),
        };
        let graph = Graph {
            root: hit.id.clone(),
            order: vec![(hit.id.clone(), 0, String::new())],
            nodes: HashMap::from([(hit.id.clone(), hit)]),
            edges: vec![Edge {
                from: "a".into(),
                to: "b".into(),
                label: evil.into(),
                via: None,
            }],
            more: false,
        };
        let svg = graph.svg(evil, |_| evil.to_owned(), |_| evil.to_owned());
        assert!(!svg.as_str().contains("<script"), "{svg}");
    }
}
