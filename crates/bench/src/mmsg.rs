//! Many datagrams in one system call (sendmmsg, recvmmsg), on a connected socket.
//!
//! Datagrams of one size leave as a train that the kernel cuts (UDP_SEGMENT). The
//! server receives them one by one all the same; only the client works less, which it
//! must, or it and not the server is what is measured. Datagrams of many clients leave
//! one by one from one socket, each from an address of its own (IP_PKTINFO).

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

/// Datagrams in one call.
pub(crate) const BATCH: usize = 64;
/// Room for one datagram.
pub(crate) const ROOM: usize = 1_500;
/// Bytes of a train at most: it travels as one packet until it is cut.
const TRAIN_BYTES_MAX: usize = 60_000;
/// Room for the control message UDP_SEGMENT or IP_PKTINFO.
const CONTROL_BYTES: usize = 32;

/// Room for one control message, aligned as the kernel wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// Buffers for one batch.
pub(crate) struct Batch {
    buffers: Vec<[u8; ROOM]>,
    lengths: [usize; BATCH],
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            buffers: vec![[0; ROOM]; BATCH],
            lengths: [0; BATCH],
        }
    }

    /// Puts a datagram at place `at`, and gives it for changing.
    pub(crate) fn put(&mut self, at: usize, datagram: &[u8]) -> &mut [u8] {
        self.lengths[at] = datagram.len();
        let place = &mut self.buffers[at][..datagram.len()];
        place.copy_from_slice(datagram);
        place
    }

    /// The datagram at place `at`.
    pub(crate) fn get(&self, at: usize) -> &[u8] {
        &self.buffers[at][..self.lengths[at]]
    }

    /// Sends the first `count`; gives how many went.
    pub(crate) fn send(&mut self, socket: &UdpSocket, count: usize) -> io::Result<usize> {
        let count = count.min(BATCH);
        let lengths = self.lengths;
        let mut parts = self.parts(&lengths);
        let mut heads = heads(&mut parts);
        let mut controls = [Control([0; CONTROL_BYTES]); BATCH];
        let (mut trains, mut at) = (0, 0);
        while at < count {
            let cars = train(&lengths[at..count]);
            let head = &mut heads[trains].msg_hdr;
            head.msg_iov = &raw mut parts[at];
            head.msg_iovlen = cars as _;
            if cars > 1 {
                head.msg_control = controls[trains].0.as_mut_ptr().cast();
                head.msg_controllen = segment(&mut controls[trains], lengths[at] as u16);
            }
            trains += 1;
            at += cars;
        }
        // SAFETY: the first `trains` heads point at parts, whose buffers live through the call and
        // are valid for the lengths stated, and at control messages that do.
        let sent =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), heads.as_mut_ptr(), trains as u32, 0) };
        let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
        Ok(heads[..sent]
            .iter()
            .map(|head| head.msg_hdr.msg_iovlen)
            .sum())
    }

    /// Sends the first `count` to `server`, each from the address that `from` gives for its
    /// place; gives how many went. The socket is not connected.
    pub(crate) fn send_from(
        &mut self,
        socket: &UdpSocket,
        count: usize,
        server: SocketAddrV4,
        from: impl Fn(usize) -> Ipv4Addr,
    ) -> io::Result<usize> {
        let count = count.min(BATCH);
        let lengths = self.lengths;
        let mut parts = self.parts(&lengths);
        let mut heads = heads(&mut parts);
        let mut controls = [Control([0; CONTROL_BYTES]); BATCH];
        let mut name = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: server.port().to_be(),
            sin_addr: libc::in_addr {
                s_addr: u32::from(*server.ip()).to_be(),
            },
            sin_zero: [0; 8],
        };
        for (at, head) in heads[..count].iter_mut().enumerate() {
            let head = &mut head.msg_hdr;
            head.msg_name = (&raw mut name).cast();
            head.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            head.msg_control = controls[at].0.as_mut_ptr().cast();
            head.msg_controllen = source(&mut controls[at], from(at));
        }
        // SAFETY: the first `count` heads point at parts, the server's address and control messages
        // that live through the call and are valid for the lengths stated.
        let sent =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), heads.as_mut_ptr(), count as u32, 0) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Waits for one datagram and takes what else is there; gives how many came.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let mut parts = self.parts(&[ROOM; BATCH]);
        let mut heads = heads(&mut parts);
        // SAFETY: as above, for writing.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                heads.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_WAITFORONE,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for (length, head) in self.lengths.iter_mut().zip(&heads[..received]) {
            *length = head.msg_len as usize;
        }
        Ok(received)
    }

    fn parts(&mut self, lengths: &[usize; BATCH]) -> [libc::iovec; BATCH] {
        std::array::from_fn(|at| libc::iovec {
            iov_base: self.buffers[at].as_mut_ptr().cast(),
            iov_len: lengths[at],
        })
    }
}

fn heads(parts: &mut [libc::iovec; BATCH]) -> [libc::mmsghdr; BATCH] {
    std::array::from_fn(|at| {
        // SAFETY: all zeros is a valid mmsghdr (null pointers with zero lengths).
        let mut head: libc::mmsghdr = unsafe { std::mem::zeroed() };
        head.msg_hdr.msg_iov = &raw mut parts[at];
        head.msg_hdr.msg_iovlen = 1;
        head
    })
}

/// How many of the datagrams at the front make one train: all of one size, but that the
/// last may be shorter.
fn train(lengths: &[usize]) -> usize {
    let size = lengths[0];
    let most = TRAIN_BYTES_MAX / size.max(1);
    let equal = lengths
        .iter()
        .take(most.max(1))
        .take_while(|&&length| length == size)
        .count();
    match lengths.get(equal) {
        Some(&last) if equal < most && last < size => equal + 1,
        _ => equal,
    }
}

/// Writes the control message that has the kernel cut a train; gives its length.
fn segment(control: &mut Control, size: u16) -> usize {
    // SAFETY: the room is aligned and large enough for one header and two bytes, and
    // CMSG_DATA of that header lies within it.
    unsafe {
        let head: *mut libc::cmsghdr = control.0.as_mut_ptr().cast();
        (*head).cmsg_level = libc::SOL_UDP;
        (*head).cmsg_type = libc::UDP_SEGMENT;
        (*head).cmsg_len = libc::CMSG_LEN(2) as _;
        libc::CMSG_DATA(head).cast::<u16>().write_unaligned(size);
        libc::CMSG_SPACE(2) as usize
    }
}

/// Writes the control message that gives a datagram its source address; gives its length.
fn source(control: &mut Control, address: Ipv4Addr) -> usize {
    let info = libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: libc::in_addr {
            s_addr: u32::from(address).to_be(),
        },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    // SAFETY: the room is aligned and large enough for one header and an in_pktinfo, and
    // CMSG_DATA of that header lies within it.
    unsafe {
        let head: *mut libc::cmsghdr = control.0.as_mut_ptr().cast();
        (*head).cmsg_level = libc::IPPROTO_IP;
        (*head).cmsg_type = libc::IP_PKTINFO;
        (*head).cmsg_len = libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as u32) as _;
        libc::CMSG_DATA(head)
            .cast::<libc::in_pktinfo>()
            .write_unaligned(info);
        libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as u32) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::train;

    #[test]
    fn a_train_is_of_one_size_but_for_a_shorter_last() {
        assert_eq!(train(&[40]), 1);
        assert_eq!(train(&[40, 40, 40]), 3);
        assert_eq!(train(&[40, 40, 39, 39]), 3);
        assert_eq!(train(&[39, 40, 40]), 1);
        assert_eq!(train(&[30_000, 30_000, 30_000]), 2);
    }
}
