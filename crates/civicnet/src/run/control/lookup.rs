//! Names in the DNS, asked of one resolver: for proofs of control and for checking
//! where an owner's name points. A few questions a minute, never on a user's path.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use casework::guard::Resolve;
use cdn::seams::Lookup;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

/// One attempt.
const PATIENCE: Duration = Duration::from_secs(2);
/// Attempts by UDP before the resolver is called silent.
const ATTEMPTS: usize = 3;
/// CNAMEs followed when looking for addresses.
const CHAIN_MAX: usize = 8;

const A: u16 = 1;
const CNAME: u16 = 5;
const TXT: u16 = 16;
const AAAA: u16 = 28;

/// Asks one resolver.
pub(super) struct Resolver {
    pub(super) server: SocketAddr,
}

/// One record of an answer: owner in lower case, type, and where its data lies.
struct Record {
    owner: String,
    kind: u16,
    data: std::ops::Range<usize>,
}

impl Resolver {
    async fn ask(&self, name: &str, kind: u16) -> Result<(Vec<u8>, Vec<Record>), String> {
        let mut id = [0; 2];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut id)
            .map_err(|_| "no random number".to_owned())?;
        let question = question(id, name, kind)?;
        let mut answer = self.by_udp(&question).await?;
        if answer.get(2).is_some_and(|flags| flags & 0x02 != 0) {
            answer = tokio::time::timeout(PATIENCE, self.by_tcp(&question))
                .await
                .map_err(|_| self.silent())?
                .map_err(|e| e.to_string())?;
        }
        match answer.get(3).map(|flags| flags & 0x0f) {
            Some(0 | 3) => {}
            Some(code) => return Err(format!("the resolver answered {name} with RCODE {code}")),
            None => return Err("the resolver's answer is cut short".to_owned()),
        }
        let records = records(&answer, question.len())
            .ok_or_else(|| "the resolver's answer is malformed".to_owned())?;
        Ok((answer, records))
    }

    async fn by_udp(&self, question: &[u8]) -> Result<Vec<u8>, String> {
        let here: IpAddr = if self.server.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let socket = UdpSocket::bind((here, 0))
            .await
            .map_err(|e| e.to_string())?;
        socket
            .connect(self.server)
            .await
            .map_err(|e| e.to_string())?;
        let mut buffer = vec![0; 4_096];
        for _ in 0..ATTEMPTS {
            socket.send(question).await.map_err(|e| e.to_string())?;
            let deadline = tokio::time::Instant::now() + PATIENCE;
            while let Ok(Ok(length)) =
                tokio::time::timeout_at(deadline, socket.recv(&mut buffer)).await
            {
                // Same number, a response, the same question: anything else is not ours.
                let ours = length >= question.len()
                    && buffer[..2] == question[..2]
                    && buffer[2] & 0x80 != 0
                    && buffer[12..question.len()].eq_ignore_ascii_case(&question[12..]);
                if ours {
                    buffer.truncate(length);
                    return Ok(buffer);
                }
            }
        }
        Err(self.silent())
    }

    async fn by_tcp(&self, question: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.server).await?;
        let length = u16::try_from(question.len()).map_err(std::io::Error::other)?;
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(question).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    fn silent(&self) -> String {
        format!("the resolver {} does not answer", self.server)
    }
}

fn question(id: [u8; 2], name: &str, kind: u16) -> Result<Vec<u8>, String> {
    let mut bytes = vec![id[0], id[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|n| (1..=63).contains(n));
        bytes.push(length.ok_or_else(|| format!("{name:?} is not a name of the DNS"))?);
        bytes.extend_from_slice(label.as_bytes());
    }
    if bytes.len() > 12 + 254 {
        return Err(format!("{name:?} is longer than 253 bytes"));
    }
    bytes.push(0);
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    Ok(bytes)
}

fn records(message: &[u8], mut at: usize) -> Option<Vec<Record>> {
    let count = u16::from_be_bytes([*message.get(6)?, *message.get(7)?]);
    let mut found = Vec::new();
    for _ in 0..count {
        let (owner, after) = name_at(message, at)?;
        let fixed = message.get(after..after + 10)?;
        let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let data = after + 10..after + 10 + length;
        message.get(data.clone())?;
        at = data.end;
        found.push(Record {
            owner,
            kind: u16::from_be_bytes([fixed[0], fixed[1]]),
            data,
        });
    }
    Some(found)
}

/// The name at `at`, in lower case without a final dot, and where what follows begins.
fn name_at(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut end = None;
    // Each pointer must go back (RFC 1035 section 4.1.4), so this ends.
    let mut limit = at;
    loop {
        match *message.get(at)? {
            0 => return Some((name, end.unwrap_or(at + 1))),
            high if high >= 0xc0 => {
                let target = usize::from(u16::from_be_bytes([high & 0x3f, *message.get(at + 1)?]));
                end.get_or_insert(at + 2);
                if target >= limit {
                    return None;
                }
                (limit, at) = (target, target);
            }
            length if length < 64 => {
                let label = message.get(at + 1..at + 1 + usize::from(length))?;
                if !name.is_empty() {
                    name.push('.');
                }
                name.extend(label.iter().map(|b| char::from(b.to_ascii_lowercase())));
                if name.len() > 255 {
                    return None;
                }
                at += 1 + usize::from(length);
            }
            _ => return None,
        }
    }
}

/// The owner at the end of the CNAME chain that begins at `name`.
fn chased(message: &[u8], records: &[Record], name: &str) -> String {
    let mut owner = name.trim_end_matches('.').to_ascii_lowercase();
    for _ in 0..CHAIN_MAX {
        let next = records
            .iter()
            .find(|r| r.kind == CNAME && r.owner == owner)
            .and_then(|r| name_at(message, r.data.start));
        match next {
            Some((target, _)) => owner = target,
            None => break,
        }
    }
    owner
}

#[async_trait]
impl Resolve for Resolver {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let mut found = Vec::new();
        for kind in [A, AAAA] {
            let (message, records) = self.ask(host, kind).await?;
            let owner = chased(&message, &records, host);
            for record in records
                .iter()
                .filter(|r| r.kind == kind && r.owner == owner)
            {
                let data = &message[record.data.clone()];
                if let Ok(v4) = <[u8; 4]>::try_from(data) {
                    found.push(IpAddr::from(v4));
                } else if let Ok(v6) = <[u8; 16]>::try_from(data) {
                    found.push(IpAddr::from(v6));
                }
            }
        }
        Ok(found)
    }
}

#[async_trait]
impl Lookup for Resolver {
    async fn txt(&self, name: &str) -> Result<Vec<String>, String> {
        let (message, records) = self.ask(name, TXT).await?;
        let owner = chased(&message, &records, name);
        let texts = records.iter().filter(|r| r.kind == TXT && r.owner == owner);
        Ok(texts
            .map(|r| String::from_utf8_lossy(&strings(&message[r.data.clone()])).into_owned())
            .collect())
    }

    async fn cname(&self, name: &str) -> Result<Option<String>, String> {
        let (message, records) = self.ask(name, CNAME).await?;
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let record = records.iter().find(|r| r.kind == CNAME && r.owner == name);
        Ok(record
            .and_then(|r| name_at(&message, r.data.start))
            .map(|(target, _)| target))
    }
}

/// The character strings of a TXT record, joined.
fn strings(mut data: &[u8]) -> Vec<u8> {
    let mut joined = Vec::new();
    while let Some((length, rest)) = data.split_first() {
        let (text, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        joined.extend_from_slice(text);
        data = rest;
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_that_do_not_go_back_are_refused() {
        let mut message = vec![0; 12];
        message.extend_from_slice(&[1, b'a', 0xc0, 12]);
        assert_eq!(name_at(&message, 12), None, "a loop");
        message.extend_from_slice(&[0xc0, 40]);
        assert_eq!(name_at(&message, 16), None, "forward");
    }

    #[test]
    fn names_that_are_none_are_refused() {
        assert!(question([0, 0], "a..b", A).is_err());
        assert!(question([0, 0], &"x".repeat(64), A).is_err());
        assert!(question([0, 0], &vec!["x".repeat(60); 5].join("."), A).is_err());
        assert!(question([0, 0], "www.example.", A).is_ok());
    }

    #[test]
    fn text_strings_are_joined_and_a_cut_one_is_taken_as_it_is() {
        assert_eq!(strings(&[2, b'a', b'b', 1, b'c']), b"abc");
        assert_eq!(strings(&[9, b'a']), b"a");
    }
}
