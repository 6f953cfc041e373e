//! A registry server that speaks IRRd's protocol: `!!`, `!s`, `!i`, `!g`, `!6`, `!a`.
//!
//! An answer is `A` and its length in bytes, that many bytes, then `C`; `C` alone is success without
//! data, `D` means that the key is not there, `F` is a failure with words.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use base::Prefix;

use super::{IrrError, Registry, is_as_or_set};

/// How long a connection, and each answer's next bytes, may take.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of one answer.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Bytes of a line that is not data.
const LINE_BYTES_MAX: u64 = 1024;

/// One conversation with a server.
#[derive(Debug)]
pub struct Server {
    name: String,
    stream: BufReader<TcpStream>,
    sources: Option<Vec<String>>,
    is_broken: bool,
}

impl Server {
    /// Connects to `name`, which is `host` or `host:port`; the port is 43 without one.
    ///
    /// # Errors
    /// When it cannot be reached in time.
    pub fn connect(name: &str, timeout: Duration) -> Result<Self, IrrError> {
        let failed = |source| IrrError::Server {
            server: name.to_owned(),
            source,
        };
        let addresses: Vec<_> = match name.to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(_) => (name, 43).to_socket_addrs().map_err(failed)?.collect(),
        };
        let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
        for address in addresses.iter().take(4) {
            match TcpStream::connect_timeout(address, timeout) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(timeout)).map_err(failed)?;
                    stream.set_write_timeout(Some(timeout)).map_err(failed)?;
                    let mut server = Self {
                        name: name.to_owned(),
                        stream: BufReader::new(stream),
                        sources: None,
                        is_broken: false,
                    };
                    server.send("!!")?;
                    return Ok(server);
                }
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    fn send(&mut self, query: &str) -> Result<(), IrrError> {
        let sent = self
            .stream
            .get_mut()
            .write_all(format!("{query}\n").as_bytes());
        sent.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: std::io::Error) -> IrrError {
        IrrError::Server {
            server: self.name.clone(),
            source,
        }
    }

    /// The words of the answer; nothing when the key is not there. After a failure the rest of the
    /// conversation could be answers to earlier questions: it is over.
    fn ask(&mut self, query: &str) -> Result<Option<String>, IrrError> {
        if self.is_broken {
            return Err(self.failed(std::io::ErrorKind::NotConnected.into()));
        }
        let answer = self.ask_once(query);
        self.is_broken = answer.is_err();
        answer
    }

    fn ask_once(&mut self, query: &str) -> Result<Option<String>, IrrError> {
        self.send(query)?;
        let status = self.line()?;
        let protocol = |said: &str| IrrError::Protocol {
            server: self.name.clone(),
            query: query.to_owned(),
            said: said.chars().take(60).collect(),
        };
        match status.split_at_checked(1) {
            Some(("C", _)) => Ok(Some(String::new())),
            Some(("D", _)) => Ok(None),
            Some(("A", digits)) => {
                let length: usize = digits.trim().parse().map_err(|_| protocol(&status))?;
                if length > ANSWER_BYTES_MAX {
                    return Err(IrrError::TooLarge {
                        what: format!("length of the answer to {query}"),
                        limit: ANSWER_BYTES_MAX,
                    });
                }
                let mut words = Vec::new();
                let read = (&mut self.stream)
                    .take(length as u64)
                    .read_to_end(&mut words);
                let read = read.map_err(|source| IrrError::Server {
                    server: self.name.clone(),
                    source,
                })?;
                if read < length {
                    return Err(self.failed(std::io::ErrorKind::UnexpectedEof.into()));
                }
                // Some servers count the line's end, some do not.
                let mut end = self.line()?;
                if end.is_empty() {
                    end = self.line()?;
                }
                if end != "C" {
                    return Err(IrrError::Protocol {
                        server: self.name.clone(),
                        query: query.to_owned(),
                        said: end.chars().take(60).collect(),
                    });
                }
                Ok(Some(String::from_utf8_lossy(&words).into_owned()))
            }
            _ => Err(protocol(&status)),
        }
    }

    fn line(&mut self) -> Result<String, IrrError> {
        let mut line = Vec::new();
        let read = (&mut self.stream)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line);
        match read {
            Ok(0) => Err(self.failed(std::io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(String::from_utf8_lossy(&line).trim().to_owned()),
            Err(source) => Err(self.failed(source)),
        }
    }

    fn choose(&mut self, sources: &[String]) -> Result<(), IrrError> {
        if self.sources.as_deref() == Some(sources) {
            return Ok(());
        }
        let list = if sources.is_empty() {
            "-*".to_owned()
        } else {
            sources.join(",")
        };
        self.ask(&format!("!s{list}"))?;
        self.sources = Some(sources.to_vec());
        Ok(())
    }
}

impl Registry for Server {
    fn members(&mut self, set: &str, sources: &[String]) -> Result<Option<Vec<String>>, IrrError> {
        self.choose(sources)?;
        let answer = self.ask(&format!("!i{set}"))?;
        Ok(answer.map(|words| {
            words
                .split_whitespace()
                .filter(|word| is_as_or_set(word))
                .map(str::to_owned)
                .collect()
        }))
    }

    fn prefixes(
        &mut self,
        asn: u32,
        v6: bool,
        sources: &[String],
    ) -> Result<Vec<Prefix>, IrrError> {
        self.choose(sources)?;
        let command = if v6 { "!6" } else { "!g" };
        let answer = self.ask(&format!("{command}AS{asn}"))?.unwrap_or_default();
        Ok(answer
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .filter(|prefix: &Prefix| prefix.address().is_ipv6() == v6)
            .collect())
    }
}
