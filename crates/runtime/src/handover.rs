//! Handing a running node over to a successor without closing a socket.
//!
//! The old process starts the new one with its listening sockets and one end of a
//! pair of Unix sockets, named in [`ENV`]. Both processes then hold the same
//! sockets, with the same queues in the kernel: whichever accepts a connection or
//! receives a datagram answers it, so there is no moment at which nobody listens.
//! Over the pair they agree who owns what has one owner only (directories):
//!
//! ```text
//!  old                                   new
//!   │  starts ──────────────────────────► │ reads its configuration
//!   │ ◄──────────────── TAKE ──────────── │ wants the directories
//!   │ lets go of them, serves on          │
//!   │ ─────────────── GIVEN ────────────► │ opens them, serves
//!   │ ◄────────────── SERVING ─────────── │
//!   │ accepts no more, drains             │
//!   │ ───────────── DRAINING ───────────► │
//!   │ ◄─────── messages of the roles ───► │ until the old one ends
//! ```
//!
//! This module knows sockets and frames; what else is said is for the roles.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Variable that names the inherited descriptors: the pair's, then the sockets'.
pub const ENV: &str = "CIVICNET_HANDOVER";
/// Bytes of one message.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// Sockets that are handed on.
pub const SOCKETS_MAX: usize = 8_192;
/// How long the other side may take to make room for a message.
const WRITE_TIME_MAX: Duration = Duration::from_secs(5);

/// What a frame is about. The numbers are spoken between versions of the program:
/// they may be added to, not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// New to old: let go of the directories.
    Take,
    /// Old to new: they are free.
    Given,
    /// New to old: every role serves.
    Serving,
    /// Old to new: accepting no more.
    Draining,
    /// Old to new: events for the journal, in the journal's envelope.
    Events,
    /// New to old: a quick entry, as JSON.
    Order,
    /// Old to new: the quick entry is in force here.
    Obeyed,
    /// Anything else: from a version that knows more.
    Unknown,
}

impl Tag {
    fn number(self) -> u8 {
        match self {
            Self::Take => 1,
            Self::Given => 2,
            Self::Serving => 3,
            Self::Draining => 4,
            Self::Events => 5,
            Self::Order => 6,
            Self::Obeyed => 7,
            Self::Unknown => 0,
        }
    }

    fn of(number: u8) -> Self {
        match number {
            1 => Self::Take,
            2 => Self::Given,
            3 => Self::Serving,
            4 => Self::Draining,
            5 => Self::Events,
            6 => Self::Order,
            7 => Self::Obeyed,
            _ => Self::Unknown,
        }
    }
}

/// One end of the pair. Blocks: use it from a thread that may.
#[derive(Debug)]
pub struct Channel(UnixStream);

impl Channel {
    /// Both ends.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = UnixStream::pair()?;
        one.set_write_timeout(Some(WRITE_TIME_MAX))?;
        other.set_write_timeout(Some(WRITE_TIME_MAX))?;
        Ok((Self(one), Self(other)))
    }

    /// The same end once more, to write from another thread than the one that reads.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Sends one message.
    ///
    /// # Errors
    /// When it is too long, or the other side is gone or takes nothing.
    pub fn send(&mut self, tag: Tag, content: &[u8]) -> io::Result<()> {
        if content.len() > MESSAGE_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "a message of {} bytes exceeds {MESSAGE_BYTES_MAX}",
                    content.len()
                ),
            ));
        }
        let mut head = [tag.number(), 0, 0, 0, 0];
        head[1..].copy_from_slice(&(content.len() as u32).to_le_bytes());
        self.0.write_all(&head)?;
        self.0.write_all(content)
    }

    /// Waits for a message; none when the other side has closed its end.
    ///
    /// # Errors
    /// When the message is too long or cut short.
    pub fn receive(&mut self) -> io::Result<Option<(Tag, Vec<u8>)>> {
        let mut head = [0; 5];
        match self.0.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a message of {length} bytes exceeds {MESSAGE_BYTES_MAX}"),
            ));
        }
        let mut content = vec![0; length];
        self.0.read_exact(&mut content)?;
        Ok(Some((Tag::of(head[0]), content)))
    }

    /// Ends both directions, also for clones and for who waits in [`Self::receive`].
    pub fn close(&self) {
        // Closed already is closed.
        self.0.shutdown(std::net::Shutdown::Both).ok();
    }
}

/// The listening sockets of this process: those it inherited and has no use for yet,
/// and duplicates of those that it serves on.
#[derive(Debug, Clone, Default)]
pub struct Sockets(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
    served: Vec<OwnedFd>,
}

impl Sockets {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the inherited TCP sockets that listen on one of `addresses`.
    pub fn take_tcp(&self, addresses: &[SocketAddr]) -> Vec<TcpListener> {
        let wanted = |socket: &mut TcpListener| {
            socket
                .local_addr()
                .is_ok_and(|address| addresses.contains(&address))
        };
        self.held().tcp.extract_if(.., wanted).collect()
    }

    /// Takes the inherited UDP sockets that are bound to one of `addresses`.
    pub fn take_udp(&self, addresses: &[SocketAddr]) -> Vec<UdpSocket> {
        let wanted = |socket: &mut UdpSocket| {
            socket
                .local_addr()
                .is_ok_and(|address| addresses.contains(&address))
        };
        self.held().udp.extract_if(.., wanted).collect()
    }

    /// Opens a listening socket that is not shared between threads, or takes the one
    /// that was inherited, and remembers it.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn listen(&self, address: SocketAddr) -> Result<TcpListener, crate::listen::ListenError> {
        let listener = match self.take_tcp(&[address]).pop() {
            Some(listener) => listener,
            None => crate::listen::tcp(address, &crate::listen::Options::default())?,
        };
        self.keep(&listener)
            .map_err(|source| crate::listen::ListenError {
                protocol: "TCP",
                address,
                source,
            })?;
        Ok(listener)
    }

    /// Remembers a socket that is served on, to be handed on.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn keep(&self, socket: &impl AsFd) -> io::Result<()> {
        let duplicate = socket.as_fd().try_clone_to_owned()?;
        self.held().served.push(duplicate);
        Ok(())
    }

    /// Remembers duplicates of sockets that are served on, to be handed on.
    pub fn keep_all(&self, duplicates: Vec<OwnedFd>) {
        self.held().served.extend(duplicates);
    }

    /// Closes what was inherited and not taken: addresses that are no longer served.
    pub fn close_unused(&self) -> usize {
        let mut held = self.held();
        let unused = held.tcp.len() + held.udp.len();
        held.tcp.clear();
        held.udp.clear();
        unused
    }

    /// Closes everything held here, so that a socket ends with those who serve on it.
    pub fn close(&self) {
        *self.held() = Held::default();
    }
}

/// A process that was started to take over.
#[derive(Debug)]
pub struct Successor {
    /// The process.
    pub child: Child,
    /// The way to it.
    pub channel: Channel,
}

/// Starts `program` with `arguments` as the successor of this process: it inherits
/// the sockets and standard streams.
///
/// # Errors
/// When it cannot be started.
pub fn start(program: &Path, arguments: &[OsString], sockets: &Sockets) -> io::Result<Successor> {
    let (ours, theirs) = Channel::pair()?;
    let held = sockets.held();
    let mut inherited: Vec<RawFd> = vec![theirs.0.as_raw_fd()];
    inherited.extend(held.served.iter().map(AsRawFd::as_raw_fd));
    if inherited.len() > SOCKETS_MAX {
        return Err(io::Error::other(format!(
            "{} sockets are more than the {SOCKETS_MAX} that can be handed on",
            inherited.len()
        )));
    }
    let named: Vec<String> = inherited.iter().map(ToString::to_string).collect();
    let mut command = Command::new(program);
    command.args(arguments).env(ENV, named.join(","));
    // SAFETY: between fork and exec only `fcntl` is called, which is async-signal-safe;
    // the descriptors stay open in the parent as long as `held` and `theirs` live.
    unsafe {
        command.pre_exec(move || {
            for descriptor in &inherited {
                if libc::fcntl(*descriptor, libc::F_SETFD, 0) == -1 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    let child = command.spawn()?;
    drop(held);
    Ok(Successor {
        child,
        channel: ours,
    })
}

/// Takes what a predecessor left for this process: the way to it, and its sockets.
/// None when this process has no predecessor. To be called once.
///
/// # Errors
/// When the variable does not name what it should.
pub fn inherit(env: &dyn crate::config::Env) -> io::Result<Option<(Channel, Sockets)>> {
    let Some(named) = env.get(ENV) else {
        return Ok(None);
    };
    let bad = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{ENV}={named:?} does not name inherited sockets"),
        )
    };
    let numbers: Vec<RawFd> = named
        .split(',')
        .map(|number| number.parse::<RawFd>().ok().filter(|number| *number > 2))
        .collect::<Option<_>>()
        .ok_or_else(bad)?;
    let mut unique = numbers.clone();
    unique.sort_unstable();
    unique.dedup();
    if unique.len() != numbers.len() || numbers.len() > SOCKETS_MAX {
        return Err(bad());
    }
    let mut held = Held::default();
    let mut channel = None;
    for (at, number) in numbers.into_iter().enumerate() {
        // SAFETY: plain system call on a number; it fails when that is no descriptor.
        if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
            return Err(bad());
        }
        // SAFETY: the descriptor is open, was made for this process by the one that
        // started it, and the numbers differ, so each has one owner here.
        let socket = socket2::Socket::from(unsafe { OwnedFd::from_raw_fd(number) });
        let kind = socket.r#type()?;
        let local = socket.local_addr()?;
        match (at, kind) {
            (0, socket2::Type::STREAM) if local.is_unix() => {
                channel = Some(Channel(UnixStream::from(OwnedFd::from(socket))));
            }
            (1.., socket2::Type::STREAM) if local.as_socket().is_some() => {
                held.tcp.push(socket.into());
            }
            (1.., socket2::Type::DGRAM) if local.as_socket().is_some() => {
                held.udp.push(socket.into());
            }
            _ => return Err(bad()),
        }
    }
    let channel = channel.ok_or_else(bad)?;
    Ok(Some((channel, Sockets(Arc::new(Mutex::new(held))))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn messages_arrive_whole_and_the_end_is_seen() {
        let (mut old, mut new) = Channel::pair().expect("a pair");
        new.send(Tag::Take, b"").expect("sent");
        old.send(Tag::Events, &[7; 100_000]).expect("sent");
        assert_eq!(
            old.receive().expect("received"),
            Some((Tag::Take, Vec::new()))
        );
        let (tag, content) = new.receive().expect("received").expect("there");
        assert_eq!((tag, content.len()), (Tag::Events, 100_000));
        assert!(
            old.send(Tag::Order, &vec![0; MESSAGE_BYTES_MAX + 1])
                .is_err()
        );
        drop(old);
        assert_eq!(new.receive().expect("an end"), None);
    }

    #[test]
    fn a_hostile_peer_costs_no_memory_and_no_panic() {
        let (old, mut new) = Channel::pair().expect("a pair");
        let mut raw = old.0.try_clone().expect("a clone");
        raw.write_all(&[5, 0xff, 0xff, 0xff, 0xff]).expect("sent");
        assert!(new.receive().is_err());
        let (old, mut new) = Channel::pair().expect("a pair");
        let mut raw = old.0.try_clone().expect("a clone");
        raw.write_all(&[200, 2, 0, 0, 0, 1]).expect("sent");
        drop((raw, old));
        assert!(new.receive().is_err(), "cut short");
    }

    #[test]
    fn sockets_are_found_by_their_address() {
        let held = Held {
            tcp: vec![TcpListener::bind("127.0.0.1:0").expect("a port")],
            udp: vec![UdpSocket::bind("127.0.0.1:0").expect("a port")],
            served: Vec::new(),
        };
        let address = held.tcp[0].local_addr().expect("bound");
        let sockets = Sockets(Arc::new(Mutex::new(held)));
        assert!(sockets.take_udp(&[]).is_empty());
        let listener = sockets.listen(address).expect("inherited");
        assert_eq!(listener.local_addr().expect("bound"), address);
        assert!(sockets.take_tcp(&[address]).is_empty(), "taken");
        assert_eq!(sockets.close_unused(), 1);
        assert_eq!(sockets.held().served.len(), 1);
    }

    #[test]
    fn a_variable_that_names_nothing_is_refused() {
        for text in ["", "x", "1", "3,3", "999999", "-1"] {
            let env = BTreeMap::from([(ENV.to_owned(), text.to_owned())]);
            assert!(inherit(&env).is_err(), "{text:?}");
        }
        assert!(inherit(&BTreeMap::new()).expect("none").is_none());
    }
}
