//! Ping and traceroute from a site, for members and officers: Debian's programs with arguments that are
//! addresses and nothing else, few at a time, and never to addresses that are nobody's business.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base::Prefix;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

/// Probes of one site at one time.
const AT_ONCE_MAX: usize = 4;
/// Probes of one site in a minute.
pub const PER_MINUTE_MAX: usize = 30;
/// How long a probe may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes kept of what a program says.
const SAID_BYTES_MAX: u64 = 16 << 10;
/// Echo requests of one ping.
const PINGS: &str = "4";
/// Hops of one traceroute.
const HOPS: &str = "24";

/// Special-purpose space (RFC 6890, RFC 4193, RFC 4291) that is no target unless it is allowed by name.
const SPECIAL: [&str; 20] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
    "::/8",
    "64:ff9b:1::/48",
    "100::/64",
    "2001:db8::/32",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
];

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Echo requests.
    Ping,
    /// The way there.
    Traceroute,
}

impl Kind {
    /// Name, as in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Traceroute => "traceroute",
        }
    }

    /// Debian's package that brings the program.
    fn package(self) -> &'static str {
        match self {
            Self::Ping => "iputils-ping",
            Self::Traceroute => "traceroute",
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeRequest {
    /// What to do.
    pub kind: Kind,
    /// An IPv4 or IPv6 address.
    pub target: String,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProbeView {
    /// What was done.
    pub kind: Kind,
    /// The target.
    pub target: String,
    /// Whether the program was content.
    pub success: bool,
    /// What the program said.
    pub output: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Lost share of echo requests in percent.
    #[serde(default)]
    pub loss_percent: Option<f64>,
    /// Mean round trip in milliseconds.
    #[serde(default)]
    pub mean_ms: Option<f64>,
}

/// Why nothing was probed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The target is no address, or not one that may be probed.
    #[error("target {0:?}: {1}")]
    Target(String, &'static str),
    /// Too much at a time.
    #[error("this site probes at most {PER_MINUTE_MAX} times a minute: try again in a minute")]
    TooMany,
    /// The program is not there.
    #[error("{0} is not installed at this site (Debian package {1})")]
    Absent(&'static str, &'static str),
    /// The program cannot be run.
    #[error("the probe could not be run")]
    Run(#[source] std::io::Error),
}

/// Reads a target: an address, and outside special-purpose space unless `allow` has it.
///
/// # Errors
/// [`ProbeError::Target`]
pub fn target(text: &str, allow: &[Prefix]) -> Result<IpAddr, ProbeError> {
    let refuse = |rule| {
        let shown: String = text.chars().take(60).collect();
        Err(ProbeError::Target(shown, rule))
    };
    let Ok(address) = text.trim().parse::<IpAddr>() else {
        return refuse("must be an IPv4 or IPv6 address, names are not looked up");
    };
    let address = address.to_canonical();
    if allow.iter().any(|prefix| prefix.contains(address)) {
        return Ok(address);
    }
    let special = SPECIAL
        .iter()
        .filter_map(|text| text.parse::<Prefix>().ok())
        .any(|prefix| prefix.contains(address));
    if special {
        return refuse("must not be private or special-purpose address space");
    }
    Ok(address)
}

/// Probes from this machine.
#[derive(Debug)]
pub struct Prober {
    allow: Vec<Prefix>,
    turns: Semaphore,
    recent: Mutex<VecDeque<Instant>>,
}

impl Prober {
    /// One that may also probe `allow`, whatever is there.
    pub fn new(allow: Vec<Prefix>) -> Self {
        Self {
            allow,
            turns: Semaphore::new(AT_ONCE_MAX),
            recent: Mutex::default(),
        }
    }

    /// Probes.
    ///
    /// # Errors
    /// [`ProbeError`]
    pub async fn probe(&self, request: &ProbeRequest) -> Result<ProbeView, ProbeError> {
        let address = target(&request.target, &self.allow)?;
        self.count()?;
        let _turn = self.turns.try_acquire().map_err(|_| ProbeError::TooMany)?;
        let begun = Instant::now();
        let (program, arguments) = command(request.kind, address);
        let (success, output) = run(request.kind, program, &arguments).await?;
        let (loss_percent, mean_ms) = match request.kind {
            Kind::Ping => summary(&output),
            Kind::Traceroute => (None, None),
        };
        Ok(ProbeView {
            kind: request.kind,
            target: address.to_string(),
            success,
            output,
            took_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            loss_percent,
            mean_ms,
        })
    }

    fn count(&self) -> Result<(), ProbeError> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while recent
            .front()
            .is_some_and(|at| now.duration_since(*at) >= Duration::from_secs(60))
        {
            recent.pop_front();
        }
        if recent.len() >= PER_MINUTE_MAX {
            return Err(ProbeError::TooMany);
        }
        recent.push_back(now);
        Ok(())
    }
}

fn command(kind: Kind, address: IpAddr) -> (&'static str, Vec<String>) {
    let family = if address.is_ipv6() { "-6" } else { "-4" };
    let arguments: &[&str] = match kind {
        Kind::Ping => &["-n", family, "-c", PINGS, "-i", "0.3", "-W", "2"],
        Kind::Traceroute => &["-n", family, "-q", "1", "-w", "1", "-m", HOPS],
    };
    let mut arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    arguments.push(address.to_string());
    (kind.name(), arguments)
}

async fn run(
    kind: Kind,
    program: &'static str,
    arguments: &[String],
) -> Result<(bool, String), ProbeError> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ProbeError::Absent(program, kind.package()),
            _ => ProbeError::Run(error),
        })?;
    let mut said = Vec::new();
    let mut complaint = Vec::new();
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let talk = async {
        if let Some(out) = out {
            out.take(SAID_BYTES_MAX).read_to_end(&mut said).await?;
        }
        if let Some(err) = err {
            err.take(SAID_BYTES_MAX).read_to_end(&mut complaint).await?;
        }
        child.wait().await
    };
    let status = match tokio::time::timeout(PATIENCE, talk).await {
        Ok(status) => Some(status.map_err(ProbeError::Run)?),
        Err(_) => None,
    };
    let mut text = String::from_utf8_lossy(&said).into_owned();
    text.push_str(&String::from_utf8_lossy(&complaint));
    if status.is_none() {
        text.push_str("\n(stopped after 30 s)");
    }
    Ok((status.is_some_and(|status| status.success()), text))
}

/// Loss and mean round trip in the last lines of ping.
fn summary(output: &str) -> (Option<f64>, Option<f64>) {
    let loss = output
        .split(", ")
        .find_map(|part| part.trim().strip_suffix("% packet loss")?.parse().ok());
    let mean = output
        .lines()
        .find(|line| line.starts_with("rtt "))
        .and_then(|line| line.split(" = ").nth(1)?.split('/').nth(1)?.parse().ok());
    (loss, mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_are_somebodys_business_are_probed() {
        for good in ["140.110.1.1", " 2001:e10::1 ", "8.8.8.8"] {
            assert!(target(good, &[]).is_ok(), "{good}");
        }
        for bad in [
            "",
            "example.tw",
            "-f",
            "8.8.8.8; id",
            "$(id)",
            "10.1.2.3",
            "127.0.0.1",
            "::1",
            "::ffff:10.0.0.1",
            "fe80::1",
            "169.254.169.254",
            "255.255.255.255",
            "fd00::1",
        ] {
            assert!(target(bad, &[]).is_err(), "{bad}");
        }
        let allow = ["127.52.0.0/16".parse().expect("a prefix")];
        assert!(target("127.52.1.1", &allow).is_ok());
        assert!(target("127.53.1.1", &allow).is_err());
    }

    #[test]
    fn arguments_are_the_address_last() {
        let (program, arguments) = command(Kind::Ping, "2001:e10::1".parse().expect("an address"));
        assert_eq!(program, "ping");
        assert_eq!(arguments.last().map(String::as_str), Some("2001:e10::1"));
        assert!(arguments.contains(&"-6".to_owned()));
    }

    #[test]
    fn what_ping_says_is_read() {
        let said = "PING 127.0.0.1\n4 packets transmitted, 3 received, 25% packet loss, time 905ms\nrtt min/avg/max/mdev = 0.013/0.024/0.030/0.007 ms\n";
        assert_eq!(summary(said), (Some(25.0), Some(0.024)));
        assert_eq!(summary("nonsense"), (None, None));
    }

    #[test]
    fn a_site_probes_so_often_and_no_more() {
        let prober = Prober::new(Vec::new());
        for _ in 0..PER_MINUTE_MAX {
            prober.count().expect("within the limit");
        }
        assert!(matches!(prober.count(), Err(ProbeError::TooMany)));
    }
}
