//! Many datagrams in one system call (sendmmsg, recvmmsg), on a connected socket.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// Datagrams in one call.
pub(crate) const BATCH: usize = 64;
/// Room for one datagram.
pub(crate) const ROOM: usize = 1_500;

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
        let lengths = self.lengths;
        let mut parts = self.parts(&lengths);
        let mut heads = heads(&mut parts);
        // SAFETY: the first `count` heads point at buffers that live through the call and are
        // valid for the lengths stated.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                heads.as_mut_ptr(),
                count.min(BATCH) as u32,
                0,
            )
        };
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
