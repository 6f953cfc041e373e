//! A UDP socket as the answering loop wants it: the peer's address stays in the
//! kernel's form between receive and send, and a socket bound to a wildcard answers
//! from the address that was asked (RFC 2181 section 4.1).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// Room for one IP_PKTINFO or IPV6_PKTINFO message.
const CONTROL_BYTES: usize = 64;

/// A socket with the address of whoever sent the last packet.
pub(super) struct Port {
    socket: UdpSocket,
    peer: libc::sockaddr_storage,
    peer_length: libc::socklen_t,
    /// Bound to a wildcard: control messages carry the local address.
    wildcard: bool,
    control: Control,
    control_length: usize,
}

#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

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
        Ok(Self {
            socket,
            // SAFETY: all zeros is a valid sockaddr_storage (family AF_UNSPEC).
            peer: unsafe { std::mem::zeroed() },
            peer_length: 0,
            wildcard,
            control: Control([0; CONTROL_BYTES]),
            control_length: 0,
        })
    }

    /// Waits for a packet; none when the time is over.
    #[inline]
    pub(super) fn receive(&mut self, packet: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        let received = if self.wildcard {
            self.receive_with_control(packet)
        } else {
            self.peer_length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            // SAFETY: the buffer and the address are valid for writes of the lengths given,
            // and live through the call.
            unsafe {
                libc::recvfrom(
                    self.socket.as_raw_fd(),
                    packet.as_mut_ptr().cast(),
                    packet.len(),
                    0,
                    (&raw mut self.peer).cast(),
                    &raw mut self.peer_length,
                )
            }
        };
        if received >= 0 {
            return Ok(self.peer_address().map(|peer| (received as usize, peer)));
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
            _ => Err(error),
        }
    }

    /// Sends to whoever sent the last packet.
    #[inline]
    pub(super) fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let sent = if self.wildcard {
            self.send_with_control(message)
        } else {
            // SAFETY: the message and the address are valid for reads of the lengths given.
            unsafe {
                libc::sendto(
                    self.socket.as_raw_fd(),
                    message.as_ptr().cast(),
                    message.len(),
                    0,
                    (&raw const self.peer).cast(),
                    self.peer_length,
                )
            }
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    fn receive_with_control(&mut self, packet: &mut [u8]) -> isize {
        let mut part = libc::iovec {
            iov_base: packet.as_mut_ptr().cast(),
            iov_len: packet.len(),
        };
        let mut message = self.message(&mut part, CONTROL_BYTES);
        // SAFETY: `message` points at the buffer, address and control room, all valid for
        // writes of the lengths it states.
        let received = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0) };
        self.peer_length = message.msg_namelen;
        // The same message, sent back, makes the kernel answer from the address that was
        // asked: it reads the fields that it wrote, except that of IPv4, below.
        self.control_length = message.msg_controllen;
        if received >= 0 {
            self.turn_control_round();
        }
        received
    }

    /// In IP_PKTINFO the kernel tells the address asked as `ipi_addr`, and takes the
    /// address to answer from as `ipi_spec_dst`.
    fn turn_control_round(&mut self) {
        let header = size_of::<libc::cmsghdr>();
        let info = size_of::<libc::in_pktinfo>();
        if self.control_length < header + info {
            return;
        }
        // SAFETY: at least a cmsghdr and an in_pktinfo lie in the aligned control room; both
        // are plain numbers, so that any bytes are valid.
        unsafe {
            let head = self.control.0.as_mut_ptr().cast::<libc::cmsghdr>();
            if ((*head).cmsg_level, (*head).cmsg_type) == (libc::IPPROTO_IP, libc::IP_PKTINFO) {
                let data = libc::CMSG_DATA(head).cast::<libc::in_pktinfo>();
                let mut info = data.read_unaligned();
                info.ipi_spec_dst = info.ipi_addr;
                info.ipi_ifindex = 0;
                data.write_unaligned(info);
            }
        }
    }

    fn send_with_control(&mut self, message: &[u8]) -> isize {
        let mut part = libc::iovec {
            iov_base: message.as_ptr().cast_mut().cast(),
            iov_len: message.len(),
        };
        let length = self.control_length;
        let mut message = self.message(&mut part, length);
        message.msg_namelen = self.peer_length;
        // SAFETY: `message` points at buffer, address and control room, valid for reads of
        // the lengths it states; sendmsg writes to none of them.
        unsafe { libc::sendmsg(self.socket.as_raw_fd(), &raw const message, 0) }
    }

    fn message(&mut self, part: &mut libc::iovec, control_length: usize) -> libc::msghdr {
        // SAFETY: all zeros is a valid msghdr (null pointers with zero lengths).
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_name = (&raw mut self.peer).cast();
        message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        message.msg_iov = part;
        message.msg_iovlen = 1;
        if control_length > 0 {
            message.msg_control = self.control.0.as_mut_ptr().cast();
            message.msg_controllen = control_length;
        }
        message
    }

    #[inline]
    fn peer_address(&self) -> Option<SocketAddr> {
        match i32::from(self.peer.ss_family) {
            libc::AF_INET => {
                // SAFETY: the kernel wrote a sockaddr_in, as the family says, and
                // sockaddr_storage is large and aligned enough for it.
                let v4 = unsafe { *(&raw const self.peer).cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(v4.sin_port)))
            }
            libc::AF_INET6 => {
                // SAFETY: as above, for sockaddr_in6.
                let v6 = unsafe { *(&raw const self.peer).cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                Some(SocketAddr::new(IpAddr::V6(ip), u16::from_be(v6.sin6_port)))
            }
            _ => None,
        }
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
