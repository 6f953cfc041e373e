//! A UDP socket as the answering loop wants it: queries are taken, and answers sent,
//! in batches as large as the queue has grown; peers' addresses stay in the kernel's
//! form in between; a socket bound to a wildcard answers from the address that was
//! asked (RFC 2181 section 4.1).
//!
//! Answers of one size to one peer, as a forwarder with few sockets gets them, leave as
//! one train that the kernel cuts (UDP_SEGMENT): one way down the network stack
//! instead of one each.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::time::Duration;

/// Packets taken at once: the bits of a u32.
pub(super) const BATCH: usize = 32;
/// Bytes of the largest query taken by UDP; a longer packet is cut, and then refused
/// for being so.
const QUERY_BYTES_MAX: usize = 2_048;
/// Room for a UDP response with whatever precedes its being cut.
const RESPONSE_ROOM: usize = 2_048;
/// Room for one control message: IP_PKTINFO, IPV6_PKTINFO or UDP_SEGMENT.
const CONTROL_BYTES: usize = 64;

/// Room for one control message, aligned as the kernel wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// An answer that waits to be sent.
#[derive(Debug, Clone, Copy, Default)]
struct Waiting {
    /// Place in the batch.
    place: u8,
    /// Bytes.
    length: u16,
    /// See [`group`].
    group: u64,
}

/// A socket with one batch of packets and their answers.
pub(super) struct Port {
    socket: UdpSocket,
    /// Bound to a wildcard: control messages carry the local address.
    wildcard: bool,
    /// The kernel has taken no offence at a train so far.
    trains: bool,
    queries: Box<[[u8; QUERY_BYTES_MAX]; BATCH]>,
    responses: Box<[[u8; RESPONSE_ROOM]; BATCH]>,
    peers: Box<[libc::sockaddr_storage; BATCH]>,
    controls: Box<[Control; BATCH]>,
    query_parts: Box<[libc::iovec; BATCH]>,
    query_heads: Box<[libc::mmsghdr; BATCH]>,
    response_parts: Box<[libc::iovec; BATCH]>,
    response_heads: Box<[libc::mmsghdr; BATCH]>,
    waiting: [Waiting; BATCH],
    waiting_used: usize,
    /// The waiting answers in the order in which they are sent.
    order: [u8; BATCH],
    /// How many packets the last receive gave.
    received: usize,
}

impl Port {
    /// Prepares a blocking socket whose receive gives up after `wake`.
    pub(super) fn new(socket: UdpSocket, wake: Duration) -> io::Result<Self> {
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(wake))?;
        let local = socket.local_addr()?;
        let wildcard = local.ip().is_unspecified();
        if wildcard {
            let (level, name) = match local {
                SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
                SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
            };
            set_option(socket.as_raw_fd(), level, name)?;
        }
        let no_part = libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        // SAFETY: all zeros is a valid mmsghdr (null pointers with zero lengths) and a valid
        // sockaddr_storage (family AF_UNSPEC).
        let (no_head, no_peer) = unsafe {
            (
                std::mem::zeroed::<libc::mmsghdr>(),
                std::mem::zeroed::<libc::sockaddr_storage>(),
            )
        };
        let mut port = Self {
            socket,
            wildcard,
            trains: !wildcard,
            queries: Box::new([[0; QUERY_BYTES_MAX]; BATCH]),
            responses: Box::new([[0; RESPONSE_ROOM]; BATCH]),
            peers: Box::new([no_peer; BATCH]),
            controls: Box::new([Control([0; CONTROL_BYTES]); BATCH]),
            query_parts: Box::new([no_part; BATCH]),
            query_heads: Box::new([no_head; BATCH]),
            response_parts: Box::new([no_part; BATCH]),
            response_heads: Box::new([no_head; BATCH]),
            waiting: [Waiting::default(); BATCH],
            waiting_used: 0,
            order: [0; BATCH],
            received: 0,
        };
        port.set_up();
        Ok(port)
    }

    /// Points every head at its buffer, address and control room, which stay where they
    /// are, boxed.
    fn set_up(&mut self) {
        for at in 0..BATCH {
            self.query_parts[at] = libc::iovec {
                iov_base: self.queries[at].as_mut_ptr().cast(),
                iov_len: QUERY_BYTES_MAX,
            };
            let head = &mut self.query_heads[at].msg_hdr;
            head.msg_name = (&raw mut self.peers[at]).cast();
            head.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            head.msg_iov = &raw mut self.query_parts[at];
            head.msg_iovlen = 1;
            if self.wildcard {
                head.msg_control = self.controls[at].0.as_mut_ptr().cast();
                head.msg_controllen = CONTROL_BYTES;
            }
        }
    }

    /// Waits for a packet, and takes what else has come; gives how many, and 0 when
    /// the time is over.
    #[inline]
    pub(super) fn receive(&mut self) -> io::Result<usize> {
        // Only what the last receive has changed is set up again.
        for head in &mut self.query_heads[..self.received] {
            head.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            if self.wildcard {
                head.msg_hdr.msg_controllen = CONTROL_BYTES;
            }
        }
        self.received = 0;
        // SAFETY: each head points at a buffer, an address and control room, all owned by
        // `self`, valid for writes of the lengths stated, and alive through the call.
        let received = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                self.query_heads.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_WAITFORONE,
                ptr::null_mut(),
            )
        };
        if let Ok(received) = usize::try_from(received) {
            self.received = received;
            return Ok(received);
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
            _ => Err(error),
        }
    }

    /// The packet at place `at`, who sent it, and room for the answer.
    #[inline]
    pub(super) fn packet(&mut self, at: usize) -> Option<(&[u8], SocketAddr, &mut [u8])> {
        let peer = address(&self.peers[at])?;
        let length = (self.query_heads[at].msg_len as usize).min(QUERY_BYTES_MAX);
        Some((&self.queries[at][..length], peer, &mut self.responses[at]))
    }

    /// The answer in the room at place `at` is to be sent with the batch.
    #[inline]
    pub(super) fn queue(&mut self, at: usize, length: usize) {
        if self.waiting_used < BATCH {
            self.waiting[self.waiting_used] = Waiting {
                place: at as u8,
                length: length as u16,
                group: group(&self.peers[at], length),
            };
            self.waiting_used += 1;
        }
    }

    /// Sends what waits. An answer that cannot be sent is left out, and the last
    /// error given.
    #[inline]
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        while self.waiting_used > 0 {
            let heads = self.prepare();
            let (sent, error) = self.send(heads);
            if sent == heads {
                self.waiting_used = 0;
                break;
            }
            let mut done: usize = (0..sent).map(|head| self.answers_in(head)).sum();
            if let Some(error) = error {
                let busy = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS));
                if self.trains && !busy {
                    // Perhaps the device cannot cut trains: answers go one by one from here on.
                    self.trains = false;
                } else {
                    done += self.answers_in(sent);
                    result = Err(error);
                }
            }
            self.keep_from(done);
        }
        result
    }

    fn answers_in(&self, head: usize) -> usize {
        self.response_heads[head].msg_hdr.msg_iovlen
    }

    /// Forgets the first `done` answers in the order in which they were to be sent.
    fn keep_from(&mut self, done: usize) {
        let rest = self.waiting_used - done;
        let kept: [Waiting; BATCH] = std::array::from_fn(|at| {
            let from = self.order[(done + at).min(BATCH - 1)];
            self.waiting[usize::from(from)]
        });
        self.waiting = kept;
        self.waiting_used = rest;
    }

    /// Makes messages of all answers that wait, trains where they can be; gives how many.
    #[inline]
    fn prepare(&mut self) -> usize {
        let mut left = u32::MAX
            .checked_shr((BATCH - self.waiting_used) as u32)
            .unwrap_or(0);
        let (mut heads, mut part) = (0, 0);
        while left != 0 {
            let first = left.trailing_zeros() as usize;
            let leader = self.waiting[first];
            let first_part = part;
            let candidates = if self.trains { left } else { 1 << first };
            let mut rest = candidates;
            while rest != 0 {
                let at = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                if at != first && !self.rides_with(&leader, &self.waiting[at]) {
                    continue;
                }
                left &= !(1 << at);
                self.order[part] = at as u8;
                let waiting = &self.waiting[at];
                self.response_parts[part] = libc::iovec {
                    iov_base: self.responses[usize::from(waiting.place)]
                        .as_mut_ptr()
                        .cast(),
                    iov_len: usize::from(waiting.length),
                };
                part += 1;
            }
            self.head(heads, &leader, first_part, part - first_part);
            heads += 1;
        }
        heads
    }

    /// Whether an answer goes to the same peer in the same size.
    #[inline]
    fn rides_with(&self, leader: &Waiting, other: &Waiting) -> bool {
        leader.group == other.group
            && leader.length == other.length
            && address(&self.peers[usize::from(leader.place)])
                == address(&self.peers[usize::from(other.place)])
    }

    /// Makes message `number` of the parts `first..first + count`.
    #[inline]
    fn head(&mut self, number: usize, leader: &Waiting, first: usize, count: usize) {
        let place = usize::from(leader.place);
        let query = &self.query_heads[place].msg_hdr;
        let (name_length, mut control_length) = (query.msg_namelen, 0);
        if self.wildcard {
            // The message received, sent back, makes the kernel answer from the address
            // asked.
            control_length = query.msg_controllen;
            turn_round(&mut self.controls[place], control_length);
        } else if count > 1 {
            control_length = segment(&mut self.controls[place], leader.length);
        }
        let head = &mut self.response_heads[number].msg_hdr;
        head.msg_name = (&raw mut self.peers[place]).cast();
        head.msg_namelen = name_length;
        head.msg_iov = &raw mut self.response_parts[first];
        head.msg_iovlen = count as _;
        head.msg_controllen = control_length;
        head.msg_control = if control_length > 0 {
            self.controls[place].0.as_mut_ptr().cast()
        } else {
            ptr::null_mut()
        };
    }

    /// Sends the first messages; gives how many went, and the error that stopped it.
    fn send(&mut self, heads: usize) -> (usize, Option<io::Error>) {
        // SAFETY: the first `heads` heads point at parts, addresses and control messages
        // owned by `self`, set up by `prepare`, valid for reads of the lengths stated, and
        // alive through the call.
        let sent = unsafe {
            libc::sendmmsg(
                self.socket.as_raw_fd(),
                self.response_heads.as_mut_ptr(),
                heads as u32,
                0,
            )
        };
        match usize::try_from(sent) {
            Ok(sent) => (sent, None),
            Err(_) => (0, Some(io::Error::last_os_error())),
        }
    }
}

/// In IP_PKTINFO the kernel tells the address asked as `ipi_addr`, and takes the address
/// to answer from as `ipi_spec_dst`. IPV6_PKTINFO needs no turning.
fn turn_round(control: &mut Control, length: usize) {
    if length < size_of::<libc::cmsghdr>() + size_of::<libc::in_pktinfo>() {
        return;
    }
    // SAFETY: at least a cmsghdr and an in_pktinfo lie in the aligned control room; both are
    // plain numbers, so that any bytes are valid.
    unsafe {
        let head = control.0.as_mut_ptr().cast::<libc::cmsghdr>();
        if ((*head).cmsg_level, (*head).cmsg_type) == (libc::IPPROTO_IP, libc::IP_PKTINFO) {
            let data = libc::CMSG_DATA(head).cast::<libc::in_pktinfo>();
            let mut info = data.read_unaligned();
            info.ipi_spec_dst = info.ipi_addr;
            info.ipi_ifindex = 0;
            data.write_unaligned(info);
        }
    }
}

/// Writes a UDP_SEGMENT message: cut the train every `length` bytes.
fn segment(control: &mut Control, length: u16) -> usize {
    // SAFETY: CMSG_SPACE and CMSG_LEN only compute; the room is aligned and, with 64 bytes,
    // larger than a cmsghdr with two bytes of data.
    unsafe {
        let head = control.0.as_mut_ptr().cast::<libc::cmsghdr>();
        (*head).cmsg_level = libc::SOL_UDP;
        (*head).cmsg_type = libc::UDP_SEGMENT;
        (*head).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
        libc::CMSG_DATA(head).cast::<u16>().write_unaligned(length);
        libc::CMSG_SPACE(size_of::<u16>() as u32) as usize
    }
}

/// Equal for answers of one size to one peer, and seldom otherwise.
#[inline]
fn group(peer: &libc::sockaddr_storage, length: usize) -> u64 {
    let (high, port) = match address(peer) {
        Some(SocketAddr::V4(v4)) => (v4.ip().to_bits(), v4.port()),
        Some(SocketAddr::V6(v6)) => {
            let bits = v6.ip().to_bits();
            ((bits >> 64 ^ bits) as u32 ^ (bits >> 32) as u32, v6.port())
        }
        None => (0, 0),
    };
    u64::from(high) << 32 | u64::from(port) << 16 | length as u64 & 0xffff
}

#[inline]
fn address(peer: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(peer.ss_family) {
        libc::AF_INET => {
            // SAFETY: the kernel wrote a sockaddr_in, as the family says, and
            // sockaddr_storage is large and aligned enough for it.
            let v4 = unsafe { *ptr::from_ref(peer).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(v4.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for sockaddr_in6.
            let v6 = unsafe { *ptr::from_ref(peer).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddr::new(IpAddr::V6(ip), u16::from_be(v6.sin6_port)))
        }
        _ => None,
    }
}

fn set_option(fd: RawFd, level: i32, name: i32) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: `on` is valid for reads of the length given, through the call.
    let done = unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Seconds and nanoseconds of one of the kernel's coarse clocks.
#[inline]
pub(super) fn coarse(clock: libc::clockid_t) -> (i64, i64) {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is valid for writes. The call cannot fail for a clock that Linux has
    // had since 2.6.32; if it did, the time would stay 0.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    (now.tv_sec, now.tv_nsec)
}
