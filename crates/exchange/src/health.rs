//! Checks one member end to end, at every site: is its router reached, are its sessions up, watched by
//! BFD, and do they carry what they usually carry? The finding is one JSON object that can be attached to
//! an incident, with words for people in both languages.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::document::{Document, Member, Router, Site};
use crate::drill::{DrillError, command};
use crate::engine::{EngineError, SessionState};
use crate::places::{Place, Places};
use crate::render::session_name;

/// Packets sent to each router.
const PINGS: u32 = 5;
/// How long `ping` may take.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Below this share of its usual routes (percent) a session is degraded.
pub const ROUTES_LOW_PERCENT: u64 = 80;
/// Above this share of its limit (percent) a session is in danger of being ended by it.
pub const LIMIT_NEAR_PERCENT: u64 = 90;
/// Bytes of the file of usual figures.
const USUAL_BYTES_MAX: u64 = 16 << 20;

/// Characters of a note; a comment may have as many.
const NOTE_CHARS_MAX: usize = 4_000;
/// Characters of what was seen in one line of it.
const SEEN_CHARS_MAX: usize = 200;
/// The check that says that a member has no router where it was looked for.
const ELSEWHERE: &str = "elsewhere";

/// How good something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Works, and somebody should look.
    Degraded,
    /// Does not work.
    Down,
}

impl Verdict {
    /// The name in tables and keys of texts.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }

    /// A word for lists on a terminal: what is not good stands out.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Degraded => "DEGRADED",
            Self::Down => "DOWN",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `route-server`, `session`, `bfd`, `routes`, `limit`, `ping`, `agent` or `elsewhere`.
    pub check: String,
    /// The site.
    pub site: String,
    /// The session or the address.
    pub object: String,
    /// How good it is.
    pub verdict: Verdict,
    /// What was seen.
    pub seen: String,
    /// What should be seen.
    pub expected: String,
    /// In Chinese.
    pub words_zh: String,
    /// In English.
    pub words_en: String,
}

/// A member, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Always `exchange-member-check`.
    pub kind: String,
    /// Format of this object.
    pub version: u32,
    /// The member's AS number.
    pub asn: u32,
    /// Its name.
    pub name: String,
    /// Seconds since 1970.
    pub at_s: u64,
    /// The worst of the findings.
    pub verdict: Verdict,
    /// Everything that was looked at.
    pub findings: Vec<Finding>,
}

/// Routes that each session usually brings: `site session` → routes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usual(pub BTreeMap<String, u64>);

impl Usual {
    /// Reads the file at `path`; nothing is usual when there is none.
    ///
    /// # Errors
    /// When it cannot be read or is not JSON of this form.
    pub fn load(path: &Path) -> Result<Self, DrillError> {
        let failed = |source| DrillError::File {
            path: path.display().to_string(),
            source,
        };
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(failed(error)),
            Ok(meta) if meta.len() > USUAL_BYTES_MAX => {
                return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
            }
            Ok(_) => {}
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        serde_json::from_slice(&bytes).map_err(|error| failed(std::io::Error::other(error)))
    }

    /// Writes the file at `path`, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), DrillError> {
        let failed = |source| DrillError::File {
            path: path.display().to_string(),
            source,
        };
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| failed(std::io::Error::other(error)))?;
        let partial = path.with_extension("partial");
        std::fs::write(&partial, text + "\n").map_err(failed)?;
        std::fs::rename(&partial, path).map_err(failed)
    }
}

/// Checks `member` at every place that is known. `learn` takes what is seen as usual from then on,
/// where it is better than what was known.
pub fn check(
    document: &Document,
    member: &Member,
    places: &Places,
    usual: &mut Usual,
    learn: bool,
    at_s: u64,
) -> Checked {
    let mut findings = Vec::new();
    for place in &places.places {
        let Some(site) = document.site(&place.site) else {
            continue;
        };
        let wanted: Vec<(&Router, bool)> = [false, true]
            .into_iter()
            .flat_map(|v6| {
                document
                    .routers_at(site, member, v6)
                    .map(move |one| (one, v6))
            })
            .collect();
        if wanted.is_empty() {
            continue;
        }
        match look(place) {
            Err(error) => findings.push(finding(
                "route-server",
                site,
                &place.daemon().socket.display().to_string(),
                Verdict::Down,
                (runtime::error_chain(&error), "answers".to_owned()),
                ("路由伺服器沒有回應", "the route server does not answer"),
            )),
            Ok((sessions, bfd)) => {
                let seen = Seen {
                    document,
                    site,
                    member,
                    sessions: &sessions,
                    bfd: bfd.as_ref(),
                };
                for (router, v6) in &wanted {
                    seen.session(router, *v6, usual, learn, &mut findings);
                }
            }
        }
        // From its own site each router is asked once.
        for (router, v6) in wanted.iter().filter(|(one, _)| one.site == place.site) {
            let address = if *v6 {
                router.v6.map(IpAddr::from)
            } else {
                router.v4.map(IpAddr::from)
            };
            if let Some(address) = address {
                findings.push(ping(place, site, address));
            }
        }
    }
    let worst = findings.iter().map(|finding| finding.verdict).max();
    if worst.is_none() {
        findings.push(Finding {
            check: ELSEWHERE.to_owned(),
            site: places.names(),
            object: format!("AS{}", member.asn),
            verdict: Verdict::Degraded,
            seen: "0".to_owned(),
            expected: "a router at one of these sites".to_owned(),
            words_zh: "會員在這些據點沒有路由器".to_owned(),
            words_en: "the member has no router at these sites".to_owned(),
        });
    }
    Checked {
        kind: "exchange-member-check".to_owned(),
        version: 1,
        asn: member.asn,
        name: member.name.clone(),
        at_s,
        verdict: worst.unwrap_or(Verdict::Degraded),
        findings,
    }
}

/// One check from what each site found about the member. Sites in `silent` gave no answer, with the reason;
/// a site where the member has no router counts only when no other site knows it either.
pub fn joined(
    asn: u32,
    name: &str,
    at_s: u64,
    found: Vec<Checked>,
    silent: &[(String, String)],
) -> Checked {
    let is_elsewhere = |one: &Checked| one.findings.iter().all(|f| f.check == ELSEWHERE);
    let is_known = found.iter().any(|one| !is_elsewhere(one));
    let mut findings: Vec<Finding> = found
        .into_iter()
        .filter(|one| !is_known || !is_elsewhere(one))
        .flat_map(|one| one.findings)
        .collect();
    findings.extend(silent.iter().map(|(site, why)| Finding {
        check: "agent".to_owned(),
        site: site.clone(),
        object: site.clone(),
        verdict: Verdict::Degraded,
        seen: why.clone(),
        expected: "answers".to_owned(),
        words_zh: "據點的代理程式沒有回應：這個據點未檢查".to_owned(),
        words_en: "the site's agent does not answer: nothing was checked there".to_owned(),
    }));
    let worst = findings.iter().map(|finding| finding.verdict).max();
    Checked {
        kind: "exchange-member-check".to_owned(),
        version: 1,
        asn,
        name: name.to_owned(),
        at_s,
        // Where nobody was asked nothing is known.
        verdict: worst.unwrap_or(Verdict::Degraded),
        findings,
    }
}

/// The findings as a comment of a case, in both languages, told by `source`: the worst first, as many as
/// fit.
pub fn note(checked: &Checked, source: &str) -> String {
    let (zh, en) = match checked.verdict {
        Verdict::Good => ("正常", "in order"),
        Verdict::Degraded => ("降級", "degraded"),
        Verdict::Down => ("中斷", "down"),
    };
    let seconds = i64::try_from(checked.at_s).unwrap_or(i64::MAX);
    let at = base::Timestamp::from_seconds(seconds).taipei();
    let mut text = format!(
        "AS{} {}:{zh} / {en} ({at}, {source})\n",
        checked.asn, checked.name
    );
    let mut findings: Vec<&Finding> = checked.findings.iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
    let mut chars = text.chars().count();
    for (at, finding) in findings.iter().enumerate() {
        let short = |text: &str| text.chars().take(SEEN_CHARS_MAX).collect::<String>();
        let line = format!(
            "- {} {} {} {}:{} / {} ({}; {})\n",
            finding.verdict.word(),
            finding.site,
            finding.check,
            finding.object,
            finding.words_zh,
            finding.words_en,
            short(&finding.seen),
            short(&finding.expected),
        );
        let rest = format!("… +{}\n", findings.len() - at);
        let length = line.chars().count();
        if chars + length + rest.chars().count() > NOTE_CHARS_MAX {
            text.push_str(&rest);
            break;
        }
        chars += length;
        text.push_str(&line);
    }
    text
}

/// Sessions, and the neighbours that BFD sees up where the daemon has BFD.
type Look = (Vec<SessionState>, Option<BTreeSet<IpAddr>>);

fn look(place: &Place) -> Result<Look, EngineError> {
    let mut engine = place.daemon().engine();
    Ok((engine.sessions()?, engine.bfd_up()?))
}

struct Seen<'a> {
    document: &'a Document,
    site: &'a Site,
    member: &'a Member,
    sessions: &'a [SessionState],
    bfd: Option<&'a BTreeSet<IpAddr>>,
}

impl Seen<'_> {
    fn session(
        &self,
        router: &Router,
        v6: bool,
        usual: &mut Usual,
        learn: bool,
        findings: &mut Vec<Finding>,
    ) {
        let name = session_name(self.site, self.member, router, v6);
        let found = self.sessions.iter().find(|session| session.name == name);
        let seen = match found {
            None => "not configured".to_owned(),
            Some(session) if session.is_established() => "Established".to_owned(),
            Some(session) => format!("{} {}", session.state, session.info)
                .trim()
                .to_owned(),
        };
        let up = found.filter(|session| session.is_established());
        let (verdict, words) = match (up, router.disabled) {
            (Some(_), _) => (Verdict::Good, ("連線正常", "the session is up")),
            (None, true) => (
                Verdict::Good,
                ("連線依設定停用", "the session is disabled as documented"),
            ),
            (None, false) => (Verdict::Down, ("連線中斷", "the session is down")),
        };
        let expected = if router.disabled {
            "disabled"
        } else {
            "Established"
        };
        findings.push(finding(
            "session",
            self.site,
            &name,
            verdict,
            (seen, expected.to_owned()),
            words,
        ));
        let Some(session) = up else { return };
        if self.document.policy.bfd.is_some() && self.member.bfd {
            let (verdict, seen, words) = match self.bfd {
                Some(up) if session.neighbor.is_some_and(|one| up.contains(&one)) => {
                    (Verdict::Good, "Up", ("BFD 正常", "BFD watches it"))
                }
                Some(_) => {
                    let words = (
                        "BFD 未建立：斷線時切換會慢",
                        "BFD is not up: a loss would be noticed late",
                    );
                    (Verdict::Degraded, "not up", words)
                }
                None => {
                    let words = (
                        "此路由伺服器的 OpenBGPD 沒有 BFD：斷線時切換會慢",
                        "the OpenBGPD of this route server has no BFD: a loss would be noticed late",
                    );
                    (Verdict::Degraded, "no BFD", words)
                }
            };
            findings.push(finding(
                "bfd",
                self.site,
                &name,
                verdict,
                (seen.to_owned(), "Up".to_owned()),
                words,
            ));
        }
        self.routes(session, v6, usual, learn, findings);
    }

    fn routes(
        &self,
        session: &SessionState,
        v6: bool,
        usual: &mut Usual,
        learn: bool,
        findings: &mut Vec<Finding>,
    ) {
        let key = format!("{} {}", self.site.name, session.name);
        let known = usual.0.get(&key).copied();
        let now = session.imported;
        let (verdict, words) = match known {
            None | Some(0) => (
                Verdict::Good,
                ("尚無平常值可比較", "nothing usual is known to compare with"),
            ),
            Some(_) if now == 0 => (Verdict::Down, ("沒有路由", "it brings no routes")),
            Some(usual) if now * 100 < usual * ROUTES_LOW_PERCENT => (
                Verdict::Degraded,
                ("路由少於平常", "it brings fewer routes than usual"),
            ),
            Some(_) => (Verdict::Good, ("路由數正常", "it brings its usual routes")),
        };
        let expected = known.map_or_else(|| "unknown".to_owned(), |usual| format!("about {usual}"));
        findings.push(finding(
            "routes",
            self.site,
            &session.name,
            verdict,
            (
                format!("{now} taken, {} refused", session.filtered),
                expected,
            ),
            words,
        ));
        if learn {
            usual.0.insert(key, now);
        }
        let (own, general) = if v6 {
            (
                self.member.max_prefix.v6,
                self.document.policy.max_prefix.v6,
            )
        } else {
            (
                self.member.max_prefix.v4,
                self.document.policy.max_prefix.v4,
            )
        };
        let Some(limit) = own.or(general).map(u64::from) else {
            return;
        };
        let received = now + session.filtered;
        let is_near = received * 100 >= limit * LIMIT_NEAR_PERCENT;
        findings.push(finding(
            "limit",
            self.site,
            &session.name,
            if is_near {
                Verdict::Degraded
            } else {
                Verdict::Good
            },
            (received.to_string(), format!("below {limit}")),
            if is_near {
                ("接近路由數上限", "it is near its limit of prefixes")
            } else {
                ("低於路由數上限", "it is below its limit of prefixes")
            },
        ));
    }
}

fn ping(place: &Place, site: &Site, address: IpAddr) -> Finding {
    let (count, text) = (PINGS.to_string(), address.to_string());
    let words = place.command(&[
        "ping", "-n", "-q", "-c", &count, "-i", "0.2", "-W", "1", &text,
    ]);
    let said = match command(&words, PING_TIMEOUT) {
        Ok(said) => said,
        Err(DrillError::Command { said, .. }) => said,
        Err(error) => runtime::error_chain(&error),
    };
    let answered = answered(&said);
    let (verdict, words) = match answered {
        Some(PINGS) => (Verdict::Good, ("路由器可達", "the router answers")),
        Some(1..) => (Verdict::Degraded, ("封包遺失", "packets are lost")),
        Some(0) => (
            Verdict::Down,
            ("路由器不可達", "the router does not answer"),
        ),
        None => (
            Verdict::Degraded,
            ("無法執行 ping", "ping could not be run"),
        ),
    };
    let seen = match (answered, round_trip(&said)) {
        (Some(count), Some(ms)) => format!("{count} of {PINGS}, {ms} ms"),
        (Some(count), None) => format!("{count} of {PINGS}"),
        (None, _) => said,
    };
    finding(
        "ping",
        site,
        &text,
        verdict,
        (seen, format!("{PINGS} of {PINGS}")),
        words,
    )
}

/// The count in `5 packets transmitted, 4 received`.
fn answered(said: &str) -> Option<u32> {
    let (before, _) = said.split_once(" received")?;
    before.rsplit([' ', ',']).next()?.parse().ok()
}

/// The mean in `rtt min/avg/max/mdev = 0.1/0.2/0.3/0.0 ms`.
fn round_trip(said: &str) -> Option<&str> {
    let (_, figures) = said.split_once("min/avg/max/mdev = ")?;
    figures.split('/').nth(1)
}

fn finding(
    check: &str,
    site: &Site,
    object: &str,
    verdict: Verdict,
    (seen, expected): (String, String),
    (words_zh, words_en): (&str, &str),
) -> Finding {
    Finding {
        check: check.to_owned(),
        site: site.name.clone(),
        object: object.to_owned(),
        verdict,
        seen,
        expected,
        words_zh: words_zh.to_owned(),
        words_en: words_en.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_ping_are_read() {
        let said = "5 packets transmitted, 4 received, 20% packet loss, time 812ms · rtt min/avg/max/mdev = 0.031/0.045/0.061/0.010 ms";
        assert_eq!((answered(said), round_trip(said)), (Some(4), Some("0.045")));
        assert_eq!(answered("ping: connect: Network is unreachable"), None);
    }

    #[test]
    fn a_silent_route_server_is_down_and_a_member_elsewhere_is_told() {
        let text = include_str!("../tests/golden/lab.toml");
        let document = Document::parse("lab.toml", text).expect("valid");
        let directory = tempfile::tempdir().expect("a directory");
        let places = Places {
            places: vec![Place {
                site: "hsinchu".to_owned(),
                engine: None,
                socket: Some(directory.path().join("none.ctl")),
                config: Some(directory.path().join("bird.conf")),
                // `true` instead of ping: it says nothing.
                run: vec!["true".to_owned()],
            }],
        };
        let mut usual = Usual::default();
        let checked = check(
            &document,
            &document.members[0],
            &places,
            &mut usual,
            true,
            0,
        );
        assert_eq!(checked.verdict, Verdict::Down);
        assert!(usual.0.is_empty(), "nothing is learnt from silence");
        let provider = document
            .members
            .iter()
            .find(|one| one.asn == 3462)
            .expect("there");
        let checked = check(&document, provider, &places, &mut usual, false, 0);
        assert_eq!(checked.verdict, Verdict::Degraded);
        assert_eq!(checked.findings.len(), 1);
    }

    fn sample(verdict: Verdict, object: &str) -> Finding {
        Finding {
            check: "session".into(),
            site: "hsinchu".into(),
            object: object.into(),
            verdict,
            seen: "x".repeat(1_000),
            expected: "Established".into(),
            words_zh: "連線中斷".into(),
            words_en: "the session is down".into(),
        }
    }

    #[test]
    fn sites_are_joined_and_those_without_the_member_left_out() {
        let of = |findings: Vec<Finding>| Checked {
            kind: "exchange-member-check".into(),
            version: 1,
            asn: 1659,
            name: "TANet".into(),
            at_s: 1,
            verdict: Verdict::Good,
            findings,
        };
        let mut elsewhere = sample(Verdict::Degraded, "AS1659");
        elsewhere.check = ELSEWHERE.into();
        let found = vec![
            of(vec![sample(Verdict::Good, "one")]),
            of(vec![elsewhere.clone()]),
        ];
        let whole = joined(1659, "TANet", 1, found.clone(), &[]);
        assert_eq!((whole.verdict, whole.findings.len()), (Verdict::Good, 1));
        let silent = [("tainan".to_owned(), "dead".to_owned())];
        let part = joined(1659, "TANet", 1, found, &silent);
        assert_eq!((part.verdict, part.findings.len()), (Verdict::Degraded, 2));
        let nowhere = joined(1659, "TANet", 1, vec![of(vec![elsewhere])], &[]);
        assert_eq!(nowhere.findings.len(), 1);
        assert_eq!(
            joined(1, "x", 1, Vec::new(), &[]).verdict,
            Verdict::Degraded
        );
    }

    #[test]
    fn a_note_tells_the_worst_first_and_fits_into_a_comment() {
        let mut checked = Checked {
            kind: "exchange-member-check".into(),
            version: 1,
            asn: 1659,
            name: "TANet".into(),
            at_s: 1_795_222_800,
            verdict: Verdict::Down,
            findings: vec![sample(Verdict::Good, "one"), sample(Verdict::Down, "two")],
        };
        let text = note(&checked, "here");
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("AS1659 TANet:中斷 / down (2026-"),
            "{}",
            lines[0]
        );
        assert!(lines[1].starts_with("- DOWN hsinchu session two:連線中斷 / the session is down"));
        assert!(lines[2].starts_with("- good"));
        checked.findings = vec![sample(Verdict::Down, "many"); 100];
        let text = note(&checked, "here");
        assert!(text.chars().count() <= NOTE_CHARS_MAX);
        let told = text.lines().count() - 2;
        assert!(text.ends_with(&format!("… +{}\n", 100 - told)), "{text}");
    }
}
