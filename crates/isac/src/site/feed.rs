//! Feeds of what is new: Atom (RFC 4287) and RSS 2.0. Pure: entries in, XML out.

use base::Timestamp;

/// One thing that is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its title.
    pub title: String,
    /// A sentence or two.
    pub summary: String,
    /// Its page, absolute.
    pub link: String,
    /// When it was published.
    pub at: Timestamp,
}

/// What a feed says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its title.
    pub title: String,
    /// The page of the site, absolute.
    pub link: String,
    /// The feed itself, absolute.
    pub here: String,
    /// Language tag.
    pub language: String,
}

/// XML 1.0 text: no character that XML cannot hold, markup escaped.
fn xml(text: &str) -> String {
    let clean: String = text
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .filter(|c| !matches!(c, '\u{fffe}' | '\u{ffff}'))
        .collect();
    web::ui::escape(&clean)
}

fn moment(at: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_second(at.seconds()).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

/// An Atom feed, newest entry first.
pub fn atom(about: &About, entries: &[Entry]) -> String {
    let updated = entries
        .iter()
        .map(|entry| entry.at)
        .max()
        .unwrap_or(Timestamp(0));
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\" xml:lang=\"{}\"><title>{}</title><id>{}</id><link href=\"{}\"/><link rel=\"self\" type=\"application/atom+xml\" href=\"{}\"/><updated>{}</updated><author><name>civicnet</name></author>",
        xml(&about.language),
        xml(&about.title),
        xml(&about.here),
        xml(&about.link),
        xml(&about.here),
        moment(updated),
    );
    for entry in entries {
        out.push_str(&format!(
            "<entry><title>{}</title><id>{}</id><link href=\"{}\"/><updated>{}</updated><summary>{}</summary></entry>",
            xml(&entry.title),
            xml(&entry.link),
            xml(&entry.link),
            moment(entry.at),
            xml(&entry.summary),
        ));
    }
    out.push_str("</feed>\n");
    out
}

/// An RSS 2.0 feed, newest item first.
pub fn rss(about: &About, entries: &[Entry]) -> String {
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<rss version=\"2.0\"><channel><title>{}</title><link>{}</link><description>{}</description><language>{}</language>",
        xml(&about.title),
        xml(&about.link),
        xml(&about.title),
        xml(&about.language),
    );
    for entry in entries {
        out.push_str(&format!(
            "<item><title>{}</title><link>{}</link><guid isPermaLink=\"true\">{}</guid><pubDate>{}</pubDate><description>{}</description></item>",
            xml(&entry.title),
            xml(&entry.link),
            xml(&entry.link),
            moment(entry.at).strftime("%a, %d %b %Y %H:%M:%S GMT"),
            xml(&entry.summary),
        ));
    }
    out.push_str("</channel></rss>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feeds_hold_only_what_xml_may() {
        let about = About {
            title: "資安 <公告> & 新聞".into(),
            link: "https://cert.example/open/zh".into(),
            here: "https://cert.example/open/zh/feed.atom".into(),
            language: "zh-TW".into(),
        };
        let entries = [Entry {
            title: "a\u{0}b ]]> \"q\"".into(),
            summary: "\u{ffff}s".into(),
            link: "https://cert.example/open/zh/news/a?b&c".into(),
            at: Timestamp::from_seconds(1_795_222_800),
        }];
        for feed in [atom(&about, &entries), rss(&about, &entries)] {
            assert!(feed.contains("資安 &lt;公告&gt; &amp; 新聞"), "{feed}");
            assert!(
                feed.contains("a?b&amp;c") && !feed.contains('\u{0}') && !feed.contains('\u{ffff}')
            );
        }
        assert!(rss(&about, &entries).contains("<pubDate>Sat, 21 Nov 2026 01:00:00 GMT</pubDate>"));
        assert!(atom(&about, &[]).contains("1970-01-01T00:00:00Z"));
    }
}
