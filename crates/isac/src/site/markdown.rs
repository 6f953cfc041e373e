//! A small, safe part of CommonMark: headings, paragraphs, lists, quotes, code,
//! emphasis and links. Everything that is text is escaped first, so that no input
//! becomes markup of its own; links lead to http, https or this house.

use web::ui::escape;

/// Characters of one text.
pub const CHARS_MAX: usize = 50_000;

enum Block {
    None,
    Paragraph,
    List(&'static str),
    Quote,
    Code,
}

/// The text as HTML. Headings begin at the second level, below the page's title.
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    let mut block = Block::None;
    for line in text.lines() {
        if matches!(block, Block::Code) {
            if line.trim_end() == "```" {
                close(&mut out, &mut block);
            } else {
                out.push_str(&escape(line));
                out.push('\n');
            }
            continue;
        }
        let line = line.trim();
        if line.starts_with("```") {
            close(&mut out, &mut block);
            out.push_str("<pre><code>");
            block = Block::Code;
        } else if line.is_empty() {
            close(&mut out, &mut block);
        } else if let Some((level, rest)) = heading(line) {
            close(&mut out, &mut block);
            out.push_str(&format!("<h{level}>{}</h{level}>", inline(rest)));
        } else if let Some((list, rest)) = item(line) {
            if !matches!(block, Block::List(open) if open == list) {
                close(&mut out, &mut block);
                out.push_str(&format!("<{list}>"));
                block = Block::List(list);
            }
            out.push_str(&format!("<li>{}</li>", inline(rest)));
        } else if let Some(rest) = line.strip_prefix('>') {
            if matches!(block, Block::Quote) {
                out.push_str("<br>");
            } else {
                close(&mut out, &mut block);
                out.push_str("<blockquote><p>");
                block = Block::Quote;
            }
            out.push_str(&inline(rest.trim_start()));
        } else {
            if matches!(block, Block::Paragraph) {
                out.push('\n');
            } else {
                close(&mut out, &mut block);
                out.push_str("<p>");
                block = Block::Paragraph;
            }
            out.push_str(&inline(line));
        }
    }
    close(&mut out, &mut block);
    out
}

fn close(out: &mut String, block: &mut Block) {
    match block {
        Block::None => {}
        Block::Paragraph => out.push_str("</p>"),
        Block::List(list) => out.push_str(&format!("</{list}>")),
        Block::Quote => out.push_str("</p></blockquote>"),
        Block::Code => out.push_str("</code></pre>"),
    }
    *block = Block::None;
}

fn heading(line: &str) -> Option<(usize, &str)> {
    let marks = line.bytes().take_while(|b| *b == b'#').count();
    let rest = line.get(marks..)?.strip_prefix(' ')?;
    // Deeper ones all read as the fourth level.
    (marks > 0).then(|| ((marks + 1).min(4), rest.trim()))
}

fn item(line: &str) -> Option<(&'static str, &str)> {
    if let Some(rest) = line.strip_prefix("- ").or(line.strip_prefix("* ")) {
        return Some(("ul", rest));
    }
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let rest = line.get(digits..)?.strip_prefix(". ")?;
    (1..=4).contains(&digits).then_some(("ol", rest))
}

/// One line's emphasis, code and links. Marks do not nest.
fn inline(mut text: &str) -> String {
    let mut out = String::new();
    while let Some(at) = text.find(['*', '`', '[']) {
        out.push_str(&escape(&text[..at]));
        text = &text[at..];
        let found = if let Some(rest) = text.strip_prefix("**") {
            enclosed(rest, "**")
                .map(|(inner, rest)| (format!("<strong>{}</strong>", escape(inner)), rest))
        } else if let Some(rest) = text.strip_prefix('*') {
            enclosed(rest, "*").map(|(inner, rest)| (format!("<em>{}</em>", escape(inner)), rest))
        } else if let Some(rest) = text.strip_prefix('`') {
            enclosed(rest, "`")
                .map(|(inner, rest)| (format!("<code>{}</code>", escape(inner)), rest))
        } else {
            link(text)
        };
        match found {
            Some((html, rest)) => {
                out.push_str(&html);
                text = rest;
            }
            None => {
                // The mark itself is ASCII.
                out.push_str(&escape(&text[..1]));
                text = &text[1..];
            }
        }
    }
    out.push_str(&escape(text));
    out
}

fn enclosed<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    let (inner, rest) = text.split_once(mark)?;
    (!inner.is_empty() && inner.trim() == inner).then_some((inner, rest))
}

fn link(text: &str) -> Option<(String, &str)> {
    let (label, rest) = text.strip_prefix('[')?.split_once("](")?;
    let (target, rest) = rest.split_once(')')?;
    let house = web::local_path(target) == target;
    let outside = url::Url::parse(target)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if label.is_empty() || label.contains('[') || !(house || outside) {
        return None;
    }
    let rel = if outside {
        " rel=\"noopener noreferrer\""
    } else {
        ""
    };
    Some((
        format!("<a href=\"{}\"{rel}>{}</a>", escape(target), escape(label)),
        rest,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_become_elements() {
        for (text, expected) in [
            ("# 標題\n內文\n第二行", "<h2>標題</h2><p>內文\n第二行</p>"),
            (
                "- a\n- **b**\n1. c",
                "<ul><li>a</li><li><strong>b</strong></li></ul><ol><li>c</li></ol>",
            ),
            ("> q\n> r", "<blockquote><p>q<br>r</p></blockquote>"),
            ("```\n<b>\n```", "<pre><code>&lt;b&gt;\n</code></pre>"),
            (
                "*a* `b` [c](https://d.example/?e&f)",
                "<p><em>a</em> <code>b</code> <a href=\"https://d.example/?e&amp;f\" rel=\"noopener noreferrer\">c</a></p>",
            ),
            ("[x](/open/zh)", "<p><a href=\"/open/zh\">x</a></p>"),
        ] {
            assert_eq!(html(text), expected, "{text}");
        }
    }

    #[test]
    fn nothing_written_becomes_markup() {
        for text in [
            "<script>alert(1)</script>",
            "[x](javascript:alert(1))",
            "[x](//evil.example)",
            "[\"><img src=x>](https://a.example/\"onload=)",
            "# <b>",
            "**<i>**",
        ] {
            let html = html(text);
            for bad in [
                "<script",
                "javascript:alert(1)\"",
                "href=\"//",
                "<img",
                "<b>",
                "<i>",
                "\"onload",
            ] {
                assert!(!html.contains(bad), "{text} → {html}");
            }
        }
    }

    #[test]
    fn any_input_closes_what_it_opens() {
        // Splitmix64: a generator that needs no state of its own.
        let mut seed = 7_u64;
        let mut next = move || {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = seed;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let parts = [
            "#",
            " ",
            "*",
            "**",
            "`",
            "```",
            "[",
            "](",
            ")",
            "\n",
            "- ",
            "1. ",
            "> ",
            "<",
            "\"",
            "&",
            "字",
            "a",
            "/",
            "https://x.example",
            "\u{0}",
            "\r\n",
        ];
        for _ in 0..100_000 {
            let count = next() % 16;
            let text: String = (0..count)
                .map(|_| parts[usize::try_from(next() % parts.len() as u64).unwrap_or(0)])
                .collect();
            let html = html(&text);
            for name in [
                "p",
                "ul",
                "ol",
                "li",
                "blockquote",
                "pre",
                "code",
                "em",
                "strong",
                "a",
                "h2",
                "h3",
                "h4",
            ] {
                let opened = html.matches(&format!("<{name}>")).count()
                    + html.matches(&format!("<{name} ")).count();
                assert_eq!(
                    opened,
                    html.matches(&format!("</{name}>")).count(),
                    "{text:?} → {html}"
                );
            }
        }
    }
}
