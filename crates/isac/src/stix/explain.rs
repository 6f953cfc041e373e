//! A pattern said in words, in Chinese or English: one line a comparison, so that a
//! person who never read the grammar knows what an indicator looks for.

use super::pattern::{Comparison, Constant, Observation, Operator, PathStep, Test};
use super::time;

/// Lines of one explanation at most.
pub const LINES_MAX: usize = 200;

/// A line of the explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// How deep it stands inside others.
    pub depth: usize,
    /// What it says.
    pub text: String,
}

/// What `pattern` looks for; in Chinese, or in English.
pub fn explain(pattern: &Observation, zh: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    observation(pattern, zh, 0, &mut lines);
    lines.truncate(LINES_MAX);
    lines
}

fn say(lines: &mut Vec<Line>, depth: usize, text: String) {
    if lines.len() <= LINES_MAX {
        lines.push(Line { depth, text });
    }
}

fn pick(zh: bool, chinese: &str, english: &str) -> String {
    if zh { chinese } else { english }.to_owned()
}

fn observation(tree: &Observation, zh: bool, depth: usize, lines: &mut Vec<Line>) {
    let mut pair = |text: String, one: &Observation, other: &Observation| {
        say(lines, depth, text);
        observation(one, zh, depth + 1, lines);
        observation(other, zh, depth + 1, lines);
    };
    match tree {
        Observation::One(comparison) => comparisons(comparison, zh, depth, lines),
        Observation::And(one, other) => pair(
            pick(zh, "下列兩次觀測都要有:", "both of these observations:"),
            one,
            other,
        ),
        Observation::Or(one, other) => pair(pick(zh, "下列任一:", "either of these:"), one, other),
        Observation::FollowedBy(one, other) => pair(
            pick(
                zh,
                "先有前者,之後有後者:",
                "the first, and after it the second:",
            ),
            one,
            other,
        ),
        Observation::Within(one, micros) => {
            let seconds = micros / 1_000_000;
            say(
                lines,
                depth,
                match zh {
                    true => format!("在 {seconds} 秒之內:"),
                    false => format!("within {seconds} s:"),
                },
            );
            observation(one, zh, depth + 1, lines);
        }
        Observation::Repeats(one, times) => {
            say(
                lines,
                depth,
                match zh {
                    true => format!("至少 {times} 次:"),
                    false => format!("at least {times} times:"),
                },
            );
            observation(one, zh, depth + 1, lines);
        }
        Observation::During(one, from, to) => {
            let (from, to) = (time::format(*from), time::format(*to));
            say(
                lines,
                depth,
                match zh {
                    true => format!("自 {from} 起、{to} 之前:"),
                    false => format!("from {from}, before {to}:"),
                },
            );
            observation(one, zh, depth + 1, lines);
        }
    }
}

fn comparisons(tree: &Comparison, zh: bool, depth: usize, lines: &mut Vec<Line>) {
    match tree {
        Comparison::And(one, other) => {
            say(
                lines,
                depth,
                pick(zh, "同一觀測中兩者皆成立:", "both in one observation:"),
            );
            comparisons(one, zh, depth + 1, lines);
            comparisons(other, zh, depth + 1, lines);
        }
        Comparison::Or(one, other) => {
            say(lines, depth, pick(zh, "下列任一成立:", "either of these:"));
            comparisons(one, zh, depth + 1, lines);
            comparisons(other, zh, depth + 1, lines);
        }
        Comparison::Test(one) => say(lines, depth, test(one, zh)),
    }
}

fn test(test: &Test, zh: bool) -> String {
    let subject = subject(&test.path.kind, &test.path.steps, zh);
    let not = match (test.negated, zh) {
        (false, _) => "",
        (true, true) => "並非",
        (true, false) => "not ",
    };
    let (verb, what) = match &test.operator {
        Operator::Equal(value) => (pick(zh, "等於", "is"), constant(value)),
        Operator::NotEqual(value) => (pick(zh, "不等於", "is not"), constant(value)),
        Operator::Less(value) => (pick(zh, "小於", "is less than"), constant(value)),
        Operator::LessEqual(value) => (pick(zh, "不大於", "is at most"), constant(value)),
        Operator::Greater(value) => (pick(zh, "大於", "is greater than"), constant(value)),
        Operator::GreaterEqual(value) => (pick(zh, "不小於", "is at least"), constant(value)),
        Operator::In(set) => {
            let some: Vec<String> = set.iter().take(20).map(constant).collect();
            let more = if set.len() > 20 { " …" } else { "" };
            (
                pick(zh, "是其中之一:", "is one of"),
                format!("{}{more}", some.join(", ")),
            )
        }
        Operator::Like(text, _) => (
            pick(zh, "形如(% 為任意字串)", "looks like (% is any text)"),
            text.clone(),
        ),
        Operator::Matches(regex) => (
            pick(zh, "符合正規表示式", "matches the regular expression"),
            regex.as_str().to_owned(),
        ),
        Operator::IsSubset(prefix) => (pick(zh, "在網段之內:", "lies within"), prefix.to_string()),
        Operator::IsSuperset(prefix) => (pick(zh, "涵蓋網段:", "covers"), prefix.to_string()),
        Operator::Exists => (pick(zh, "存在", "is there"), String::new()),
    };
    format!("{subject} {not}{verb} {what}")
        .trim_end()
        .to_owned()
}

fn subject(kind: &str, steps: &[PathStep], zh: bool) -> String {
    let simple = match (kind, steps) {
        ("ipv4-addr" | "ipv6-addr", [PathStep::Key(key)]) if key == "value" => {
            Some(("位址", "the address"))
        }
        ("domain-name", [PathStep::Key(key)]) if key == "value" => {
            Some(("網域名稱", "the domain name"))
        }
        ("url", [PathStep::Key(key)]) if key == "value" => Some(("網址", "the URL")),
        ("email-addr", [PathStep::Key(key)]) if key == "value" => {
            Some(("電子郵件位址", "the mail address"))
        }
        ("file", [PathStep::Key(key)]) if key == "name" => Some(("檔名", "the file name")),
        ("mutex", [PathStep::Key(key)]) if key == "name" => Some(("互斥鎖名稱", "the mutex")),
        _ => None,
    };
    if let Some((chinese, english)) = simple {
        return pick(zh, chinese, english);
    }
    if let ("file", [PathStep::Key(hashes), PathStep::Key(name)]) = (kind, steps)
        && hashes == "hashes"
    {
        return match zh {
            true => format!("檔案的 {name} 雜湊值"),
            false => format!("the file's {name} digest"),
        };
    }
    let mut path = kind.to_owned();
    for step in steps {
        match step {
            PathStep::Key(key) => path.push_str(&format!(".{key}")),
            PathStep::Index(index) => path.push_str(&format!("[{index}]")),
            PathStep::Any => path.push_str("[*]"),
        }
    }
    path
}

fn constant(value: &Constant) -> String {
    let text = match value {
        Constant::Text(text) => text.clone(),
        Constant::Integer(number) => number.to_string(),
        Constant::Float(number) => number.to_string(),
        Constant::Bool(yes) => yes.to_string(),
        Constant::Time(at) => time::format(*at),
        Constant::Bytes(bytes) => hex::encode(bytes),
    };
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::super::pattern::parse;
    use super::*;

    fn of(pattern: &str, zh: bool) -> Vec<String> {
        explain(&parse(pattern).expect(pattern), zh)
            .into_iter()
            .map(|line| format!("{}{}", ".".repeat(line.depth), line.text))
            .collect()
    }

    #[test]
    fn patterns_are_said_in_words() {
        assert_eq!(
            of("[ipv4-addr:value = '198.51.100.7']", true),
            ["位址 等於 198.51.100.7"]
        );
        assert_eq!(
            of(
                "[file:hashes.MD5 = 'aa' AND file:size > 7] FOLLOWEDBY [domain-name:value LIKE '%.evil'] WITHIN 60 SECONDS",
                false
            )[..2],
            [
                "the first, and after it the second:",
                ".both in one observation:"
            ]
        );
        assert_eq!(
            of(
                "[ipv4-addr:value ISSUBSET '192.0.2.0/24' OR url:value NOT IN ('a','b')]",
                false
            ),
            [
                "either of these:",
                ".the address lies within 192.0.2.0/24",
                ".the URL not is one of a, b"
            ]
        );
    }
}
