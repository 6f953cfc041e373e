//! Registries' dumps: RPSL objects as text (RFC 2622), one file a registry.
//!
//! Of an object only what filters need is kept: an `as-set` with its members, a `route` or `route6`
//! with its origin. Every other object, and whatever is not RPSL, is passed over and counted.
//! `mbrs-by-ref` is not followed.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use base::Prefix;

use super::{IrrError, Registry, asn, is_as_or_set};

/// Bytes of one line; what is longer is cut.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Lines of one object that are looked at.
const OBJECT_LINES_MAX: usize = 200_000;
/// Objects kept of all files.
const OBJECTS_MAX: usize = 20_000_000;
/// Members of one set.
const SET_MEMBERS_MAX: usize = 100_000;

/// The objects of some dumps.
#[derive(Debug, Default)]
pub struct Files {
    sets: HashMap<(String, String), Vec<String>>,
    routes: HashMap<u32, Vec<(u16, Prefix)>>,
    sources: Vec<String>,
    objects: usize,
    /// Objects that had no use or no sense.
    pub passed_over: u64,
}

impl Files {
    /// Reads `path`. The registry is each object's `source:`, or the file's stem where there is none.
    ///
    /// # Errors
    /// When the file cannot be read, or a limit is passed.
    pub fn read(&mut self, path: &Path) -> Result<(), IrrError> {
        let failed = |source| IrrError::File {
            path: path.display().to_string(),
            source,
        };
        let file = std::fs::File::open(path).map_err(failed)?;
        let stem = path.file_stem().map_or_else(String::new, |stem| {
            stem.to_string_lossy().to_ascii_uppercase()
        });
        self.read_from(&stem, file).map_err(|error| match error {
            ReadError::Io(source) => failed(source),
            ReadError::TooLarge(limit) => IrrError::TooLarge {
                what: format!("number of objects in {}", path.display()),
                limit,
            },
        })
    }

    /// As [`Self::read`], from memory.
    ///
    /// # Errors
    /// When a limit is passed.
    pub fn read_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), IrrError> {
        self.read_from(name, bytes).map_err(|error| match error {
            ReadError::Io(source) => IrrError::File {
                path: name.to_owned(),
                source,
            },
            ReadError::TooLarge(limit) => IrrError::TooLarge {
                what: format!("number of objects in {name}"),
                limit,
            },
        })
    }

    fn read_from(&mut self, stem: &str, input: impl Read) -> Result<(), ReadError> {
        let mut input = BufReader::with_capacity(1 << 20, input);
        let mut line = Vec::new();
        let mut object = Object::default();
        loop {
            line.clear();
            let read = (&mut input)
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut line)
                .map_err(ReadError::Io)?;
            if read == 0 {
                break;
            }
            if line.last() != Some(&b'\n') && line.len() as u64 == LINE_BYTES_MAX {
                skip_line(&mut input).map_err(ReadError::Io)?;
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            if text.is_empty() {
                self.take(stem, &mut object)?;
            } else if !text.starts_with(['%', '#']) {
                object.add(text);
            }
        }
        self.take(stem, &mut object)
    }

    fn take(&mut self, stem: &str, object: &mut Object) -> Result<(), ReadError> {
        let object = std::mem::take(object);
        let Some((class, name)) = object.attributes.first() else {
            return Ok(());
        };
        let source = object.get("source").unwrap_or(stem).to_ascii_uppercase();
        if self.objects >= OBJECTS_MAX {
            return Err(ReadError::TooLarge(OBJECTS_MAX));
        }
        let kept = match class.as_str() {
            "as-set" if is_as_or_set(name) => {
                let members: Vec<String> = object
                    .all("members")
                    .chain(object.all("mp-members"))
                    .flat_map(|value| value.split([',', ' ', '\t']))
                    .map(str::trim)
                    .filter(|member| is_as_or_set(member))
                    .take(SET_MEMBERS_MAX)
                    .map(str::to_ascii_uppercase)
                    .collect();
                self.sets
                    .insert((source, name.to_ascii_uppercase()), members);
                true
            }
            "route" | "route6" => {
                let origin = object.get("origin").and_then(asn);
                match (name.parse::<Prefix>(), origin) {
                    (Ok(prefix), Some(origin))
                        if prefix.address().is_ipv4() == (class == "route") =>
                    {
                        let source = self.source_number(source);
                        self.routes
                            .entry(origin)
                            .or_default()
                            .push((source, prefix));
                        true
                    }
                    _ => false,
                }
            }
            _ => false,
        };
        if kept {
            self.objects += 1;
        } else {
            self.passed_over += 1;
        }
        Ok(())
    }

    fn source_number(&mut self, source: String) -> u16 {
        let at = self
            .sources
            .iter()
            .position(|known| *known == source)
            .unwrap_or_else(|| {
                self.sources.push(source);
                self.sources.len() - 1
            });
        u16::try_from(at).unwrap_or(u16::MAX)
    }
}

impl Registry for Files {
    fn members(&mut self, set: &str, sources: &[String]) -> Result<Option<Vec<String>>, IrrError> {
        let set = set.to_ascii_uppercase();
        if sources.is_empty() {
            // No order is asked for: the registries' names give a stable one.
            let known: BTreeMap<&String, &Vec<String>> = self
                .sets
                .iter()
                .filter(|((_, name), _)| *name == set)
                .map(|((source, _), members)| (source, members))
                .collect();
            return Ok(known.into_values().next().cloned());
        }
        Ok(sources.iter().find_map(|source| {
            self.sets
                .get(&(source.to_ascii_uppercase(), set.clone()))
                .cloned()
        }))
    }

    fn prefixes(
        &mut self,
        asn: u32,
        v6: bool,
        sources: &[String],
    ) -> Result<Vec<Prefix>, IrrError> {
        let wanted = |number: u16| {
            sources.is_empty()
                || self.sources.get(usize::from(number)).is_some_and(|name| {
                    sources
                        .iter()
                        .any(|source| source.eq_ignore_ascii_case(name))
                })
        };
        Ok(self
            .routes
            .get(&asn)
            .into_iter()
            .flatten()
            .filter(|(source, prefix)| prefix.address().is_ipv6() == v6 && wanted(*source))
            .map(|(_, prefix)| *prefix)
            .collect())
    }
}

enum ReadError {
    Io(std::io::Error),
    TooLarge(usize),
}

/// The attributes of one object, continuation lines joined.
#[derive(Default)]
struct Object {
    attributes: Vec<(String, String)>,
    lines: usize,
}

impl Object {
    fn add(&mut self, line: &str) {
        self.lines += 1;
        if self.lines > OBJECT_LINES_MAX {
            return;
        }
        let without_comment = line.split('#').next().unwrap_or_default();
        if let Some(rest) = without_comment.strip_prefix([' ', '\t', '+']) {
            if let Some((_, value)) = self.attributes.last_mut() {
                value.push(' ');
                value.push_str(rest.trim());
            }
        } else if let Some((key, value)) = without_comment.split_once(':') {
            let key = key.trim().to_ascii_lowercase();
            // Of what is long and not needed nothing is kept.
            let needed = self.attributes.is_empty()
                || matches!(key.as_str(), "members" | "mp-members" | "origin" | "source");
            self.attributes.push((
                key,
                if needed {
                    value.trim().to_owned()
                } else {
                    String::new()
                },
            ));
        }
    }

    fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.attributes
            .iter()
            .filter(move |(known, _)| known == key)
            .map(|(_, value)| value.as_str())
    }

    fn get<'a>(&'a self, key: &'a str) -> Option<&'a str> {
        self.all(key)
            .next()
            .map(str::trim)
            .filter(|value| !value.is_empty())
    }
}

fn skip_line(input: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        match memchr::memchr(b'\n', buffer) {
            Some(at) => {
                input.consume(at + 1);
                return Ok(());
            }
            None => {
                let length = buffer.len();
                input.consume(length);
            }
        }
    }
}
