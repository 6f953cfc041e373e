//! A closed loop of DNS questions: a fixed number is under way at any time, so that
//! the server is as busy as it can be and nothing is lost. What counts is answers by
//! second of the server's own CPU time.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;

use crate::mmsg::{BATCH, Batch};

/// Questions made ready.
const QUESTIONS: usize = 16_384;
/// Client addresses at most: 127.1.0.0/16.
const CLIENTS_MAX: u32 = 1 << 16;
/// Width of one step of the latency histogram.
const STEP_US: usize = 10;
/// Steps of the latency histogram: up to a second.
const STEPS: usize = 100_000;

/// What to ask, and whom.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The server.
    #[arg(long)]
    server: SocketAddr,
    /// Process of the server, whose CPU time is read; 0: none.
    #[arg(long, default_value_t = 0)]
    pid: u32,
    /// Names asked for: host0 … below the suffix.
    #[arg(long, default_value_t = 1_000)]
    names: u32,
    /// What the names end in.
    #[arg(long, default_value = "bench.example.")]
    suffix: String,
    /// Client networks told by EDNS Client Subnet: 10.0.0.0/24, 10.0.1.0/24 …; 0: no EDNS.
    #[arg(long, default_value_t = 0)]
    subnets: u32,
    /// Questions under way.
    #[arg(long, default_value_t = 256)]
    outstanding: usize,
    /// Sockets that they come from.
    #[arg(long, default_value_t = 8)]
    sockets: usize,
    /// Client addresses (127.1.0.0 …) that they come from, in turn; 0: one, with trains of questions.
    /// IPv4 on loopback only.
    #[arg(long, default_value_t = 0)]
    clients: u32,
    /// Seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Outcome {
    seconds: f64,
    answers: u64,
    lost: u64,
    wrong: u64,
    answers_per_s: f64,
    server_cpu_s: f64,
    answers_per_cpu_s: f64,
    p50_us: usize,
    p99_us: usize,
}

/// One socket with its questions under way.
struct Line {
    socket: UdpSocket,
    under_way: usize,
    next_id: u16,
    sent_at: Vec<Instant>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let questions = questions(options)?;
    let mut lines = Vec::new();
    let many = match (options.clients, options.server) {
        (0, _) => None,
        (clients @ 1..=CLIENTS_MAX, SocketAddr::V4(server)) if server.ip().is_loopback() => {
            Some((clients, server))
        }
        (clients, server) => bail!(
            "{clients} clients of {server}: there may be {CLIENTS_MAX}, of a server on IPv4 loopback"
        ),
    };
    for _ in 0..options.sockets.max(1) {
        let socket = UdpSocket::bind(match (many, options.server) {
            (Some(_), _) => "0.0.0.0:0",
            (None, SocketAddr::V4(_)) => "127.0.0.1:0",
            (None, SocketAddr::V6(_)) => "[::1]:0",
        })
        .context("could not open a socket")?;
        if many.is_none() {
            socket
                .connect(options.server)
                .context("could not connect")?;
        }
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .context("could not set a time limit")?;
        lines.push(Line {
            socket,
            under_way: 0,
            next_id: 0,
            sent_at: vec![Instant::now(); 1 << 16],
        });
    }
    let window = (options.outstanding / lines.len()).clamp(1, BATCH);
    let mut load = Load {
        questions,
        many,
        next_client: 0,
        at: 0,
        batch: Batch::new(),
        histogram: vec![0; STEPS],
        answers: 0,
        lost: 0,
        wrong: 0,
    };
    let cpu_before = cpu_seconds(options.pid)?;
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(options.seconds);
    while Instant::now() < until {
        for line in &mut lines {
            load.round(line, window)?;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let server_cpu_s = cpu_seconds(options.pid)? - cpu_before;
    let outcome = Outcome {
        seconds,
        answers: load.answers,
        lost: load.lost,
        wrong: load.wrong,
        answers_per_s: load.answers as f64 / seconds,
        server_cpu_s,
        answers_per_cpu_s: if server_cpu_s > 0.0 {
            load.answers as f64 / server_cpu_s
        } else {
            0.0
        },
        p50_us: load.percentile(0.50),
        p99_us: load.percentile(0.99),
    };
    serde_json::to_writer(std::io::stdout(), &outcome).context("could not print")?;
    Ok(())
}

struct Load {
    questions: Vec<Vec<u8>>,
    /// How many clients there are, and the server that they ask.
    many: Option<(u32, SocketAddrV4)>,
    next_client: u32,
    at: usize,
    batch: Batch,
    histogram: Vec<u64>,
    answers: u64,
    lost: u64,
    wrong: u64,
}

impl Load {
    /// Fills a line's window, and takes what has come.
    fn round(&mut self, line: &mut Line, window: usize) -> anyhow::Result<()> {
        let count = window - line.under_way;
        let now = Instant::now();
        for place in 0..count {
            let datagram = self.batch.put(place, &self.questions[self.at]);
            datagram[..2].copy_from_slice(&line.next_id.to_be_bytes());
            line.sent_at[usize::from(line.next_id)] = now;
            line.next_id = line.next_id.wrapping_add(1);
            self.at = (self.at + 1) % self.questions.len();
        }
        if count > 0 {
            let sent = match self.many {
                None => self.batch.send(&line.socket, count),
                Some((clients, server)) => {
                    let first = self.next_client;
                    self.next_client = first.wrapping_add(count as u32);
                    self.batch.send_from(&line.socket, count, server, |at| {
                        Ipv4Addr::from_bits(0x7f01_0000 | (first.wrapping_add(at as u32) % clients))
                    })
                }
            };
            line.under_way += sent.context("could not send")?;
        }
        let received = match self.batch.receive(&line.socket) {
            Ok(received) => received,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.lost += line.under_way as u64;
                line.under_way = 0;
                return Ok(());
            }
            Err(error) => return Err(error).context("could not receive"),
        };
        let now = Instant::now();
        for place in 0..received {
            let message = self.batch.get(place);
            // A response, NOERROR, with an answer.
            if message.len() < 12
                || message[2] & 0x80 == 0
                || message[3] & 0xf != 0
                || message[7] == 0
            {
                self.wrong += 1;
            } else {
                self.answers += 1;
            }
            let id = message
                .first_chunk::<2>()
                .map_or(0, |id| u16::from_be_bytes(*id));
            let took = now.duration_since(line.sent_at[usize::from(id)]);
            let step = (took.as_micros() as usize / STEP_US).min(STEPS - 1);
            self.histogram[step] += 1;
        }
        line.under_way = line.under_way.saturating_sub(received);
        Ok(())
    }

    /// Microseconds, to one step.
    fn percentile(&self, share: f64) -> usize {
        let total: u64 = self.histogram.iter().sum();
        let mut seen = 0;
        for (step, count) in self.histogram.iter().enumerate() {
            seen += count;
            if seen as f64 >= total as f64 * share {
                return (step + 1) * STEP_US;
            }
        }
        STEPS * STEP_US
    }
}

fn questions(options: &Options) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut questions = Vec::with_capacity(QUESTIONS);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..QUESTIONS {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let host = (seed >> 8) as u32 % options.names.max(1);
        let name: dns::Name = format!("host{host}.{}", options.suffix).parse()?;
        let with_edns = u8::from(options.subnets > 0);
        let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, with_edns];
        packet.extend(name.as_wire());
        packet.extend([0, 1, 0, 1]);
        if options.subnets > 0 {
            let subnet = (seed >> 40) as u32 % options.subnets;
            let [a, b, c, _] = Ipv4Addr::from_bits(0x0a00_0000 | subnet << 8).octets();
            packet.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 11]);
            packet.extend([0, 8, 0, 7, 0, 1, 24, 0, a, b, c]);
        }
        questions.push(packet);
    }
    Ok(questions)
}

/// User and system time of a process with all its threads, in seconds.
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    if pid == 0 {
        return Ok(0.0);
    }
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
    // The command's name may hold blanks and parentheses: fields begin after the last one.
    let Some((_, fields)) = text.rsplit_once(')') else {
        bail!("{path} is not what it should be");
    };
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |at: usize| -> anyhow::Result<f64> {
        let text = fields.get(at).copied().unwrap_or_default();
        text.parse()
            .with_context(|| format!("{path}: field {at} is {text:?}"))
    };
    // SAFETY: sysconf reads a constant.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    Ok((ticks(11)? + ticks(12)?) / per_second)
}
