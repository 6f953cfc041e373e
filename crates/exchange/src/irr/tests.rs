use super::rpsl::Files;
use super::*;

const DUMP: &str = "\
% a dump
as-set:     AS-ONE
members:    AS1659, as-two,
            AS7539   # a comment
+           ,AS9264
source:     LAB

as-set: AS-TWO
members: AS-ONE, AS-MISSING, AS4782
source: LAB

route: 140.110.0.0/16
origin: AS7539
source: LAB

route6: 2001:e10::/32
origin: AS7539
source: LAB

route: 10.0.0.1/8
origin: AS7539
source: LAB

person: Nobody
remarks: route: 1.0.0.0/8
";

fn files(text: &str) -> Files {
    let mut files = Files::default();
    files.read_bytes("LAB", text.as_bytes()).expect("small");
    files
}

#[test]
fn sets_in_a_circle_are_walked_once() {
    let found = expand(&mut files(DUMP), "as-one", &["lab".into()]).expect("known");
    assert_eq!(
        found.into_iter().collect::<Vec<_>>(),
        [1659, 4782, 7539, 9264]
    );
}

#[test]
fn routes_are_of_their_origin_family_and_source() {
    let mut files = files(DUMP);
    assert_eq!(
        files.prefixes(7539, false, &[]).expect("known"),
        ["140.110.0.0/16".parse().expect("a prefix")]
    );
    assert_eq!(files.prefixes(7539, true, &[]).expect("known").len(), 1);
    assert!(
        files
            .prefixes(7539, true, &["OTHER".into()])
            .expect("known")
            .is_empty()
    );
    assert_eq!(files.passed_over, 2);
    assert!(matches!(
        expand(&mut files, "AS-NONE", &[]),
        Err(IrrError::Unknown { .. })
    ));
}

#[test]
fn a_chain_of_sets_without_end_is_refused() {
    let mut text = String::new();
    for depth in 0..40 {
        text.push_str(&format!(
            "as-set: AS-D{depth}\nmembers: AS-D{}\n\n",
            depth + 1
        ));
    }
    assert!(matches!(
        expand(&mut files(&text), "AS-D0", &[]),
        Err(IrrError::TooLarge { .. })
    ));
}

#[test]
fn mutated_dumps_never_panic() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for _ in 0..100_000 {
        let mut bytes = DUMP.as_bytes().to_vec();
        for _ in 0..=next() % 6 {
            let at = usize::try_from(next()).unwrap_or(0) % bytes.len();
            match next() % 3 {
                0 => bytes[at] = u8::try_from(next() % 256).unwrap_or(0),
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, b"\n:# +"[usize::try_from(next() % 5).unwrap_or(0)]),
            }
        }
        let mut files = Files::default();
        files.read_bytes("LAB", &bytes).expect("small");
        if let Ok(found) = allowed(&mut files, "AS-ONE", false, &[]) {
            assert!(found.asns.len() <= ASNS_MAX);
        }
    }
}

#[test]
fn the_last_good_answer_stands_when_a_registry_fails() {
    struct Broken;
    impl Registry for Broken {
        fn members(&mut self, set: &str, _: &[String]) -> Result<Option<Vec<String>>, IrrError> {
            Err(IrrError::Server {
                server: set.to_owned(),
                source: std::io::ErrorKind::TimedOut.into(),
            })
        }
        fn prefixes(&mut self, _: u32, _: bool, _: &[String]) -> Result<Vec<Prefix>, IrrError> {
            Err(IrrError::Server {
                server: "x".to_owned(),
                source: std::io::ErrorKind::TimedOut.into(),
            })
        }
    }
    let document = Document::parse("lab.toml", crate::document::tests::SMALL).expect("valid");
    let directory = tempfile::tempdir().expect("a directory");
    let cache = Cache::open(directory.path().join("irr")).expect("made");
    assert!(
        resolve(&document, "hsinchu", &mut Broken, Some(&cache), None).is_err(),
        "no data and no earlier data"
    );
    let mut good = files(
        "as-set: AS-TWAREN\nmembers: AS7539\n\nroute: 140.110.0.0/16\norigin: AS7539\n\nroute6: 2001:e10::/32\norigin: AS7539\n\nroute: 163.28.0.0/16\norigin: AS1659\n",
    );
    let (first, _) = resolve(&document, "hsinchu", &mut good, Some(&cache), None).expect("known");
    let (second, warnings) =
        resolve(&document, "hsinchu", &mut Broken, Some(&cache), None).expect("kept");
    assert_eq!(first, second);
    assert!(!warnings.is_empty());
}

/// A server that answers each line with what the script says.
fn server(script: &'static [(&'static str, &'static str)]) -> String {
    use std::io::{BufRead as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        let mut lines = std::io::BufReader::new(stream.try_clone().expect("cloned")).lines();
        let mut stream = stream;
        while let Some(Ok(line)) = lines.next() {
            if let Some((_, answer)) = script.iter().find(|(query, _)| *query == line) {
                stream.write_all(answer.as_bytes()).expect("sent");
            }
        }
    });
    address
}

#[test]
fn a_server_is_asked_in_irrds_protocol() {
    let address = server(&[
        ("!sLAB", "C\n"),
        ("!iAS-TWAREN", "A14\nAS7539 AS-MORE\nC\n"),
        ("!iAS-MORE", "D\n"),
        ("!gAS7539", "A30\n140.110.0.0/16 192.0.2.0/24 x\n\nC\n"),
    ]);
    let mut server =
        whois::Server::connect(&address, std::time::Duration::from_secs(5)).expect("reached");
    let found = allowed(&mut server, "AS-TWAREN", false, &["LAB".into()]).expect("answers");
    assert_eq!(found.asns, [7539]);
    assert_eq!(found.prefixes.len(), 2);
}

#[test]
fn a_hostile_server_is_an_error() {
    for answer in [
        "A999999999999\n",
        "A-1\n",
        "hello\n",
        "\u{fffd}\n",
        "A10\nshort\nC\nand more\n",
        "F broken\n",
    ] {
        let address = server(Box::leak(Box::new([("!s-*", "C\n"), ("!iAS-X", answer)])));
        let mut server = whois::Server::connect(&address, std::time::Duration::from_millis(300))
            .expect("reached");
        assert!(expand(&mut server, "AS-X", &[]).is_err(), "{answer:?}");
    }
}

#[test]
fn a_set_that_nobody_knows_is_its_members_affair_alone() {
    let document = Document::parse("lab.toml", crate::document::tests::SMALL).expect("valid");
    let mut one_only = files("route: 163.28.0.0/16\norigin: AS1659\n");
    let (found, warnings) =
        resolve(&document, "hsinchu", &mut one_only, None, None).expect("found");
    let nobody: Vec<&(u32, bool)> = found
        .iter()
        .filter(|(_, allowed)| allowed.prefixes.is_empty())
        .map(|(key, _)| key)
        .collect();
    let told = warnings
        .iter()
        .map(|warning| warning.0.as_str())
        .collect::<Vec<_>>()
        .join("; ");
    assert!(nobody.contains(&&(7539, false)), "{nobody:?}");
    assert!(!found[&(1659, false)].prefixes.is_empty());
    assert!(told.contains("knows AS-TWAREN"), "{told}");

    // A registry that fails takes nothing from whom something is known of, and gives nobody anything.
    struct Silent;
    impl Registry for Silent {
        fn members(&mut self, _: &str, _: &[String]) -> Result<Option<Vec<String>>, IrrError> {
            Unreachable("test".to_owned()).members("", &[])
        }
        fn prefixes(&mut self, _: u32, _: bool, _: &[String]) -> Result<Vec<Prefix>, IrrError> {
            Unreachable("test".to_owned()).prefixes(0, false, &[])
        }
    }
    let (after, warnings) =
        resolve(&document, "hsinchu", &mut Silent, None, Some(&found)).expect("goes on");
    assert_eq!(after, found);
    assert!(!warnings.is_empty());
    let none = AllowedByMember::new();
    let (after, _) =
        resolve(&document, "hsinchu", &mut Silent, None, Some(&none)).expect("goes on");
    assert!(after.values().all(|allowed| *allowed == Allowed::default()));
}
