use super::*;

/// Examples of the standard (part 9.8) and what people write.
const GOOD: [&str; 20] = [
    "[file:hashes.'SHA-256' = 'aec070645fe53ee3b3763059376134f058cc337247c978add178b6ccdfb0019f']",
    "[email-message:from_ref.value MATCHES '.+\\\\@example\\\\.com$' AND email-message:body_multipart[*].body_raw_ref.name MATCHES '^Final Report.+\\\\.exe$']",
    "[file:mime_type = 'image/bmp' AND file:magic_number_hex = h'ffd8']",
    "[network-traffic:dst_ref.type = 'ipv4-addr' AND network-traffic:dst_ref.value = '203.0.113.33/32']",
    "[network-traffic:extensions.'http-request-ext'.request_header.'User-Agent' = 'x']",
    "([file:name = 'foo.dll'] AND [win-registry-key:key = 'HKEY_LOCAL_MACHINE\\\\foo\\\\bar']) OR [process:image_ref.name = 'fooproc' OR process:image_ref.name = 'procfoo']",
    "[user-account:account_type = 'unix' AND user-account:user_id = '1007' AND user-account:account_login = 'Peter'] AND [user-account:user_id = '1008']",
    "[artifact:mime_type = 'application/vnd.tcpdump.pcap' AND artifact:payload_bin MATCHES '\\xd4\\xc3\\xb2\\xa1']",
    "[network-traffic:src_ref.value ISSUBSET '198.51.100.0/24']",
    "[ipv4-addr:value ISSUPERSET '198.51.100.7']",
    "[x509-certificate:issuer = 'CN=WEBMAIL' AND x509-certificate:serial_number = '4c']",
    "([ipv4-addr:value = '198.51.100.1/32' OR ipv4-addr:value = '203.0.113.33/32'] FOLLOWEDBY [domain-name:value = 'example.com']) WITHIN 600 SECONDS",
    "[network-traffic:dst_port = 22] REPEATS 5 TIMES WITHIN 1800 SECONDS",
    "[url:value LIKE 'http://%.example.com/_'] START t'2026-01-01T00:00:00Z' STOP t'2026-02-01T00:00:00Z'",
    "[process:pid NOT IN (1, 2, 3)]",
    "[NOT EXISTS process:cwd]",
    "[file:size > 10.5 AND file:size <= 20 OR file:size != -1]",
    "[process:is_hidden = true]",
    "[artifact:payload_bin = b'dGVzdA==']",
    "[ipv4-addr:value='1.2.3.4'] /* why */ // end",
];

#[test]
fn patterns_of_the_standard_are_read() {
    for pattern in GOOD {
        // The standard shows backslashes as the string literal holds them.
        let pattern = pattern.replace("\\x", "\\\\x");
        assert!(
            parse(&pattern).is_ok(),
            "{pattern}: {:?}",
            parse(&pattern).err()
        );
    }
}

#[test]
fn what_is_no_pattern_is_refused_with_its_place() {
    let deep = format!("{}[a:b=1]{}", "(".repeat(100), ")".repeat(100));
    for (pattern, offset) in [
        ("", 0),
        ("[", 1),
        ("[ipv4-addr:value]", 16),
        ("[a:b = ]", 7),
        ("[a:b = 'x]", 7),
        ("[a:b = 1] AND", 13),
        ("[a:b MATCHES '(']", 16),
        ("[a:b ISSUBSET 'x']", 17),
        ("[a:b = 1] x", 10),
        (
            "[a:b = 1] START t'2026-01-01T00:00:00Z' STOP t'2025-01-01T00:00:00Z'",
            68,
        ),
    ] {
        let error = parse(pattern).expect_err(pattern);
        assert_eq!(error.offset, offset, "{pattern}: {error}");
    }
    assert!(parse(&deep).is_err());
}

#[test]
fn a_long_list_makes_no_deep_tree() {
    let many = vec!["ipv4-addr:value = '1.2.3.4'"; 20_000].join(" OR ");
    assert!(parse(&format!("[{many}]")).is_ok());
    let many = vec!["[a:b = 1]"; 20_000].join(" OR ");
    assert!(parse(&many).is_ok());
}

#[test]
fn a_hundred_thousand_mutations_do_no_harm() {
    let mut state = 0x0F0F_1234_5678_9ABC_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut good = 0_u32;
    for round in 0..100_000_usize {
        let mut text: Vec<char> = GOOD[round % GOOD.len()].chars().collect();
        for _ in 0..=random() % 3 {
            if text.is_empty() {
                break;
            }
            let at = (random() % text.len() as u64) as usize;
            match random() % 3 {
                0 => {
                    text[at] =
                        ['[', ']', '\'', '(', ')', '臺', '.', '*', '\\'][(random() % 9) as usize]
                }
                1 => drop(text.remove(at)),
                _ => text.truncate(at.max(1)),
            }
        }
        good += u32::from(parse(&text.into_iter().collect::<String>()).is_ok());
    }
    assert!(good > 100, "only {good} were good");
}
