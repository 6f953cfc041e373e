use super::*;
use proptest::prelude::*;

fn target(text: &str) -> Target {
    text.parse().expect("a target")
}

#[test]
fn what_people_type_becomes_one_canonical_text() {
    let sha = "AB".repeat(32);
    for (typed, canonical) in [
        // Another URL in the path or the query makes it no other URL.
        (
            "http://a.example/go?to=https://b.example/",
            "url:a.example/go?to=https://b.example/",
        ),
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1/32", "192.0.2.1"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("Evil.Example.", "evil.example"),
        ("*.evil.example", "*.evil.example"),
        ("HTTP://Evil.Example:8080", "url:evil.example/"),
        (
            "https://evil.example/a/../%7eb/./c?x=%2F#z",
            "url:evil.example/~b/c?x=%2F",
        ),
        ("http://192.0.2.1/x", "url:192.0.2.1/x"),
        ("http://[2001:db8::1]:80/x", "url:[2001:db8::1]/x"),
        (&sha, &format!("sha256:{}", "ab".repeat(32))),
        (
            "MD5:00112233445566778899aabbccddeeff",
            "md5:00112233445566778899aabbccddeeff",
        ),
    ] {
        let read = target(typed);
        assert_eq!(read.to_string(), canonical, "{typed}");
        assert_eq!(target(canonical), read, "{canonical}");
    }
}

#[test]
fn what_is_no_target_names_thing_value_and_rule() {
    for bad in [
        "",
        "evil",
        "*.tw",
        "a..b",
        "-",
        "192.0.2.1/24",
        "1.2.3.4.5",
        "ftp://a.example/",
        "http://",
        "http://u@a.example/",
        "https://a.example/\u{7f}",
        "sha256:zz",
        "新竹.tw",
        "a b.example",
        "300.1.1.1",
        "http:///x",
    ] {
        let error = bad.parse::<Target>().expect_err(bad).to_string();
        assert!(error.contains("to enforce: "), "{error}");
    }
}

#[test]
fn paths_have_one_form() {
    let normal = |path: &str| {
        let mut into = String::new();
        normal_path(path, &mut into);
        into
    };
    for (path, expected) in [
        ("", "/"),
        ("/", "/"),
        ("/a", "/a"),
        ("/a/", "/a/"),
        ("/./a", "/a"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/../../a", "/a"),
        ("/%61%2f%zz%", "/a%2F%zz%"),
        ("//a", "//a"),
        ("/a/%2e%2e/b", "/b"),
        ("/a//../b", "/a/b"),
    ] {
        assert_eq!(normal(path), expected, "{path}");
        assert_eq!(normal(expected), expected, "stable");
    }
}

#[test]
fn a_rule_without_new_fields_still_reads() {
    let rule: Rule = serde_json::from_str(
        r#"{"id":"018f0000-0000-7000-8000-000000000001","target":"*.evil.example"}"#,
    )
    .expect("reads");
    assert_eq!((rule.action, rule.until), (Action::Refuse, None));
    let snapshot: crate::delivery::EdgeSnapshot =
        serde_json::from_str(r#"{"sites":[],"certificates":[],"draining":[]}"#).expect("older");
    assert!(snapshot.enforced.is_unused());
    let text = serde_json::to_string(&snapshot).expect("writes");
    assert!(!text.contains("enforced"), "{text}");
}

/// A hundred thousand mutations of good targets: none panics, and what is read has
/// one canonical text.
#[test]
fn mutated_targets_never_panic_and_stay_canonical() {
    let seeds = [
        "192.0.2.0/24",
        "2001:db8::/32",
        "*.evil.example",
        "https://evil.example/a/../%7eb?x#y",
        "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "url:a.tw/%2e/",
    ];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut good = 0;
    for _ in 0..120_000 {
        let seed = seeds[(random() % seeds.len() as u64) as usize];
        let mut bytes = seed.as_bytes().to_vec();
        for _ in 0..=random() % 3 {
            let at = (random() % bytes.len() as u64) as usize;
            match random() % 3 {
                0 => bytes[at] = (random() % 256) as u8,
                1 => bytes.insert(at, b"./%:*?#@[]0aZ-_ "[(random() % 16) as usize]),
                _ if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => {}
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(read) = text.parse::<Target>() {
            good += 1;
            assert_eq!(target(&read.to_string()), read, "{text}");
        }
    }
    assert!(good > 1_000, "{good}");
}

proptest! {
    #[test]
    fn any_text_reads_or_is_refused(text in ".{0,80}") {
        if let Ok(read) = text.parse::<Target>() {
            prop_assert_eq!(read.to_string().parse::<Target>().expect("own text"), read);
        }
    }
}
