//! The resources, their methods, and the action that guards each: TAXII's lines of the
//! permission table. A path that stands here in no line does not exist.

use http::Method;

/// A resource and what is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// What there is (4.1).
    Discovery,
    /// An API root (4.2).
    Root,
    /// What became of a push (4.3).
    Status,
    /// The collections of an API root (5.1).
    Collections,
    /// A collection (5.2).
    Collection,
    /// Its objects without their content (5.3).
    Manifest,
    /// Its objects (5.4).
    Objects,
    /// Adding objects (5.5).
    Add,
    /// An object (5.6).
    Object,
    /// Deleting an object (5.7).
    Delete,
    /// The versions of an object (5.8).
    Versions,
}

/// Method, path, resource, action.
pub const ROUTES: [(Method, &str, Resource, &str); 11] = [
    (Method::GET, "/taxii2/", Resource::Discovery, "taxii:read"),
    (Method::GET, "/{root}/", Resource::Root, "taxii:read"),
    (
        Method::GET,
        "/{root}/status/{status}/",
        Resource::Status,
        "taxii:read",
    ),
    (
        Method::GET,
        "/{root}/collections/",
        Resource::Collections,
        "taxii:read",
    ),
    (
        Method::GET,
        "/{root}/collections/{collection}/",
        Resource::Collection,
        "taxii:read",
    ),
    (
        Method::GET,
        "/{root}/collections/{collection}/manifest/",
        Resource::Manifest,
        "taxii:read",
    ),
    (
        Method::GET,
        "/{root}/collections/{collection}/objects/",
        Resource::Objects,
        "taxii:read",
    ),
    (
        Method::POST,
        "/{root}/collections/{collection}/objects/",
        Resource::Add,
        "taxii:write",
    ),
    (
        Method::GET,
        "/{root}/collections/{collection}/objects/{object}/",
        Resource::Object,
        "taxii:read",
    ),
    (
        Method::DELETE,
        "/{root}/collections/{collection}/objects/{object}/",
        Resource::Delete,
        "taxii:write",
    ),
    (
        Method::GET,
        "/{root}/collections/{collection}/objects/{object}/versions/",
        Resource::Versions,
        "taxii:read",
    ),
];

/// A path that was recognised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The API root.
    pub root: String,
    /// A status.
    pub status: String,
    /// A collection.
    pub collection: String,
    /// An object.
    pub object: String,
}

/// Why a path leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nowhere {
    /// No resource is there.
    Path,
    /// One is, for these methods.
    Method(String),
}

/// The resource at `path`. The last slash may be missing.
///
/// # Errors
/// [`Nowhere`]
pub fn find(method: &Method, path: &str) -> Result<(Resource, &'static str, Names), Nowhere> {
    let method = if *method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let mut allow = Vec::new();
    for (known, template, resource, action) in &ROUTES {
        let Some(names) = matches(template, path) else {
            continue;
        };
        if known == method {
            return Ok((*resource, action, names));
        }
        allow.push(known.as_str());
        // The discovery's path is no API root.
        if *resource == Resource::Discovery {
            break;
        }
    }
    if allow.is_empty() {
        return Err(Nowhere::Path);
    }
    if allow.contains(&"GET") {
        allow.push("HEAD");
    }
    Err(Nowhere::Method(allow.join(", ")))
}

fn matches(template: &str, path: &str) -> Option<Names> {
    let trim = |text: &str| -> String {
        text.trim_start_matches('/')
            .trim_end_matches('/')
            .to_owned()
    };
    if path.contains("//") {
        return None;
    }
    let (template, path) = (trim(template), trim(path));
    let mut names = Names::default();
    let (mut wanted, mut found) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return Some(names),
            (Some(want), Some(part)) if want == part => {}
            (Some(want), Some(part)) if want.starts_with('{') && !part.is_empty() => {
                let part = percent(part)?;
                match want {
                    "{root}" => names.root = part,
                    "{status}" => names.status = part,
                    "{collection}" => names.collection = part,
                    _ => names.object = part,
                }
            }
            _ => return None,
        }
    }
}

/// Undoes percent-encoding; `None` when what comes out is no text.
fn percent(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%' {
            out.push(hex::decode(bytes.get(at + 1..at + 3)?).ok()?[0]);
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_resources() {
        let at = |method, path| find(&method, path).map(|found| found.0);
        assert_eq!(at(Method::GET, "/taxii2/"), Ok(Resource::Discovery));
        assert_eq!(at(Method::GET, "/taxii2"), Ok(Resource::Discovery));
        assert_eq!(at(Method::HEAD, "/civic/"), Ok(Resource::Root));
        assert_eq!(
            at(Method::GET, "/civic/collections/x/objects/"),
            Ok(Resource::Objects)
        );
        assert_eq!(
            at(Method::POST, "/civic/collections/x/objects/"),
            Ok(Resource::Add)
        );
        let (resource, _, names) =
            find(&Method::DELETE, "/civic/collections/x%2Dy/objects/a--b/").expect("there");
        assert_eq!(
            (resource, names.collection.as_str(), names.object.as_str()),
            (Resource::Delete, "x-y", "a--b")
        );
        assert_eq!(
            at(Method::PUT, "/civic/collections/x/objects/"),
            Err(Nowhere::Method("GET, POST, HEAD".into()))
        );
        assert_eq!(
            at(Method::POST, "/taxii2/"),
            Err(Nowhere::Method("GET, HEAD".into()))
        );
        for path in [
            "/",
            "",
            "//",
            "/civic/x/",
            "/civic//collections/",
            "/a/b/c/d/e/f/g",
            "/civic/collections/%zz/",
            "/civic/collections/%ff/",
        ] {
            assert_eq!(at(Method::GET, path), Err(Nowhere::Path), "{path}");
        }
    }
}
