//! Site maps (the sitemaps.org protocol 0.9): finds the `<loc>` of every `<url>` in a
//! `<urlset>`, or of every `<sitemap>` in a `<sitemapindex>`. A small scanner of our
//! own: it reads just the subset of XML that the protocol uses, expands only the
//! five predefined entities and character references, and so has no entity to bomb.

/// Bytes of one file (the protocol's own limit is 50 MiB; ours is smaller on purpose).
pub const BYTES_MAX: usize = 10 * 1024 * 1024;
/// URLs of one file, the protocol's own limit.
pub const URLS_MAX: usize = 50_000;
/// Bytes of one URL, the protocol's own limit.
pub const URL_BYTES_MAX: usize = 2_048;

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sitemap {
    /// Pages.
    Urls(Vec<String>),
    /// Further files.
    Index(Vec<String>),
}

/// Why a file is no site map.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum SitemapError {
    /// Too many bytes.
    #[error("a site map of {0} bytes: at most {BYTES_MAX}")]
    TooLarge(usize),
    /// Not UTF-8.
    #[error("the site map is not UTF-8 at byte {0}")]
    NotUtf8(usize),
    /// Too many URLs.
    #[error("the site map names more than {URLS_MAX} URLs")]
    TooMany,
    /// Neither root element.
    #[error("the file is no site map: neither <urlset> nor <sitemapindex>")]
    NoRoot,
    /// A tag, comment or section that does not end.
    #[error("the site map breaks off in the {0} at byte {1}")]
    Unfinished(&'static str, usize),
    /// An entity that XML does not predefine.
    #[error("the site map uses the entity {0:?}, which is not one of XML's own")]
    Entity(String),
    /// A document type, which a site map does not have.
    #[error("the site map has a document type declaration: not read")]
    DocType,
    /// A URL that is too long.
    #[error("a URL of the site map is over {URL_BYTES_MAX} bytes")]
    UrlLong,
}

/// Reads a file.
///
/// # Errors
/// [`SitemapError`] that names the place or the value.
pub fn parse(bytes: &[u8]) -> Result<Sitemap, SitemapError> {
    if bytes.len() > BYTES_MAX {
        return Err(SitemapError::TooLarge(bytes.len()));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| SitemapError::NotUtf8(e.valid_up_to()))?;
    Scanner { text, at: 0 }.run()
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn run(mut self) -> Result<Sitemap, SitemapError> {
        let mut index = None;
        // Whether we are inside <url> or <sitemap>, and inside its <loc>.
        let mut entry = false;
        let mut loc: Option<String> = None;
        let mut found = Vec::new();
        while let Some(token) = self.token()? {
            match token {
                Token::Open(name) => match (name, index) {
                    ("urlset", None) => index = Some(false),
                    ("sitemapindex", None) => index = Some(true),
                    (_, None) => return Err(SitemapError::NoRoot),
                    ("url", Some(false)) | ("sitemap", Some(true)) => entry = true,
                    ("loc", Some(_)) if entry => loc = Some(String::new()),
                    _ => {}
                },
                Token::Close("url" | "sitemap") => entry = false,
                Token::Close("loc") => {
                    if let Some(url) = loc
                        .take()
                        .map(|url| url.trim().to_owned())
                        .filter(|url| !url.is_empty())
                    {
                        found.push(url);
                        if found.len() > URLS_MAX {
                            return Err(SitemapError::TooMany);
                        }
                    }
                }
                Token::Close(_) => {}
                Token::Text(text) => {
                    if let Some(loc) = &mut loc {
                        unescape(text, loc)?;
                    }
                }
                Token::Verbatim(text) => {
                    if let Some(loc) = &mut loc {
                        loc.push_str(text);
                    }
                }
            }
            if loc.as_ref().is_some_and(|loc| loc.len() > URL_BYTES_MAX) {
                return Err(SitemapError::UrlLong);
            }
        }
        match index {
            None => Err(SitemapError::NoRoot),
            Some(true) => Ok(Sitemap::Index(found)),
            Some(false) => Ok(Sitemap::Urls(found)),
        }
    }

    /// The next piece, without comments and processing instructions.
    fn token(&mut self) -> Result<Option<Token<'a>>, SitemapError> {
        loop {
            let rest = &self.text[self.at..];
            if rest.is_empty() {
                return Ok(None);
            }
            if let Some(after) = rest.strip_prefix("<!--") {
                self.skip(after, "-->", "comment", 4)?;
            } else if let Some(after) = rest.strip_prefix("<?") {
                self.skip(after, "?>", "processing instruction", 2)?;
            } else if let Some(after) = rest.strip_prefix("<![CDATA[") {
                let text = self.skip(after, "]]>", "CDATA section", 9)?;
                return Ok(Some(Token::Verbatim(text)));
            } else if rest.starts_with("<!") {
                return Err(SitemapError::DocType);
            } else if let Some(after) = rest.strip_prefix('<') {
                let tag = self.skip(after, ">", "tag", 1)?;
                return Ok(Some(tag_token(tag)));
            } else if rest.starts_with('\u{feff}') && self.at == 0 {
                self.at += '\u{feff}'.len_utf8();
            } else {
                let length = rest.find('<').unwrap_or(rest.len());
                self.at += length;
                return Ok(Some(Token::Text(&rest[..length])));
            }
        }
    }

    fn skip(
        &mut self,
        after: &'a str,
        end: &str,
        what: &'static str,
        opening: usize,
    ) -> Result<&'a str, SitemapError> {
        let length = after
            .find(end)
            .ok_or(SitemapError::Unfinished(what, self.at))?;
        self.at += opening + length + end.len();
        Ok(&after[..length])
    }
}

enum Token<'a> {
    Open(&'a str),
    Close(&'a str),
    Text(&'a str),
    Verbatim(&'a str),
}

/// A tag by its local name; an empty element opens only, which is harmless here.
fn tag_token(tag: &str) -> Token<'_> {
    let local = |name: &'_ str| -> usize { name.find(':').map_or(0, |at| at + 1) };
    match tag.strip_prefix('/') {
        Some(name) => {
            let name = name.trim_end();
            Token::Close(&name[local(name)..])
        }
        None => {
            let end = tag
                .find(|c: char| c.is_ascii_whitespace() || c == '/')
                .unwrap_or(tag.len());
            let name = &tag[..end];
            Token::Open(&name[local(name)..])
        }
    }
}

fn unescape(text: &str, into: &mut String) -> Result<(), SitemapError> {
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        into.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let unknown = || SitemapError::Entity(after.chars().take(20).collect());
        let end = after
            .find(';')
            .filter(|end| *end <= 10)
            .ok_or_else(unknown)?;
        let name = &after[..end];
        let character = match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let number = name.strip_prefix('#').ok_or_else(unknown)?;
                let code = match number.strip_prefix(['x', 'X']) {
                    Some(digits) => u32::from_str_radix(digits, 16),
                    None => number.parse(),
                };
                code.ok()
                    .and_then(char::from_u32)
                    .filter(|c| *c >= ' ')
                    .ok_or_else(unknown)?
            }
        };
        into.push(character);
        rest = &after[end + 1..];
    }
    into.push_str(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!-- made by hand -->
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:image="http://www.google.com/schemas/sitemap-image/1.1">
  <url><loc>https://www.agency.example/?a=1&amp;b=2</loc><lastmod>2026-11-21</lastmod>
    <image:image><image:title>x</image:title></image:image></url>
  <url>
    <loc><![CDATA[ https://www.agency.example/news/ ]]></loc>
  </url>
  <loc>https://www.agency.example/outside</loc>
</urlset>"#;

    #[test]
    fn pages_are_found_with_their_entities_expanded() {
        assert_eq!(
            parse(MAP.as_bytes()),
            Ok(Sitemap::Urls(vec![
                "https://www.agency.example/?a=1&b=2".into(),
                "https://www.agency.example/news/".into()
            ]))
        );
    }

    #[test]
    fn an_index_is_told_from_a_map() {
        let index =
            "<sitemapindex><sitemap><loc>https://a.example/1.xml</loc></sitemap></sitemapindex>";
        assert_eq!(
            parse(index.as_bytes()),
            Ok(Sitemap::Index(vec!["https://a.example/1.xml".into()]))
        );
    }

    #[test]
    fn what_is_no_site_map_is_refused_by_reason() {
        for (text, expected) in [
            ("", SitemapError::NoRoot),
            ("<html><body/></html>", SitemapError::NoRoot),
            ("<urlset><url", SitemapError::Unfinished("tag", 8)),
            ("<urlset><!-- x", SitemapError::Unfinished("comment", 8)),
            (
                "<!DOCTYPE x [<!ENTITY a \"b\">]><urlset/>",
                SitemapError::DocType,
            ),
            (
                "<urlset><url><loc>&bomb;</loc></url></urlset>",
                SitemapError::Entity("bomb;".into()),
            ),
            (
                "<urlset><url><loc>&#0;</loc></url></urlset>",
                SitemapError::Entity("#0;".into()),
            ),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(expected), "{text}");
        }
        assert_eq!(parse(b"<urlset>\xff"), Err(SitemapError::NotUtf8(8)));
        let long = format!(
            "<urlset><url><loc>https://a.example/{}</loc></url></urlset>",
            "x".repeat(URL_BYTES_MAX)
        );
        assert_eq!(parse(long.as_bytes()), Err(SitemapError::UrlLong));
        let many = format!(
            "<urlset>{}</urlset>",
            "<url><loc>a</loc></url>".repeat(URLS_MAX + 1)
        );
        assert_eq!(parse(many.as_bytes()), Err(SitemapError::TooMany));
        assert_eq!(
            parse(&vec![b' '; BYTES_MAX + 1]),
            Err(SitemapError::TooLarge(BYTES_MAX + 1))
        );
    }

    /// A hundred thousand mutations: never a panic, and never more than is there.
    #[test]
    fn mutated_maps_never_panic() {
        let mut state = 0x1234_5678_9abc_def1_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let (mut read, mut refused) = (0, 0);
        for _ in 0..100_000 {
            let mut bytes = MAP.as_bytes().to_vec();
            for _ in 0..=random() % 6 {
                let at = (random() as usize) % bytes.len();
                match random() % 3 {
                    0 => bytes[at] = (random() % 256) as u8,
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, b"<>&;/![]-?#"[(random() % 11) as usize]),
                }
            }
            match parse(&bytes) {
                Ok(Sitemap::Urls(urls) | Sitemap::Index(urls)) => {
                    read += 1;
                    assert!(urls.iter().map(String::len).sum::<usize>() <= bytes.len());
                }
                Err(_) => refused += 1,
            }
        }
        assert!(
            read > 1_000 && refused > 1_000,
            "{read} read, {refused} refused"
        );
    }
}
