//! Sockets as servers here want them: `SO_REUSEADDR`, optionally `SO_REUSEPORT`
//! (one socket per core, the kernel spreads the load), non-blocking, IPv6 sockets
//! for IPv6 only.
//!
//! They are `std` sockets, so that each core's own runtime can adopt them.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections waiting to be accepted, unless asked otherwise; the kernel cuts it
/// to `net.core.somaxconn`.
pub const BACKLOG_DEFAULT: i32 = 4_096;

/// How a socket is opened.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Several sockets may share the address (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// Connections waiting to be accepted (TCP).
    pub backlog: i32,
    /// Kernel receive buffer in bytes; `None` keeps the system's.
    pub receive_buffer_bytes: Option<usize>,
    /// Kernel send buffer in bytes; `None` keeps the system's.
    pub send_buffer_bytes: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reuse_port: false,
            backlog: BACKLOG_DEFAULT,
            receive_buffer_bytes: None,
            send_buffer_bytes: None,
        }
    }
}

impl Options {
    /// For one socket per core on one address.
    pub fn shared() -> Self {
        Self {
            reuse_port: true,
            ..Self::default()
        }
    }
}

/// A socket that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {protocol} {address}")]
pub struct ListenError {
    /// `TCP` or `UDP`.
    pub protocol: &'static str,
    /// The address asked for.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Opens a listening TCP socket on `address`; port 0 chooses a free one.
///
/// # Errors
/// When the system refuses: address in use, not ours, no permission.
pub fn tcp(address: SocketAddr, options: &Options) -> Result<TcpListener, ListenError> {
    let open = || {
        let socket = open(address, Type::STREAM, Protocol::TCP, options)?;
        socket.bind(&address.into())?;
        socket.listen(options.backlog)?;
        Ok(TcpListener::from(socket))
    };
    open().map_err(|source| ListenError {
        protocol: "TCP",
        address,
        source,
    })
}

/// Opens a UDP socket on `address`; port 0 chooses a free one.
///
/// # Errors
/// When the system refuses: address in use, not ours, no permission.
pub fn udp(address: SocketAddr, options: &Options) -> Result<UdpSocket, ListenError> {
    let open = || {
        let socket = open(address, Type::DGRAM, Protocol::UDP, options)?;
        socket.bind(&address.into())?;
        Ok(UdpSocket::from(socket))
    };
    open().map_err(|source| ListenError {
        protocol: "UDP",
        address,
        source,
    })
}

fn open(
    address: SocketAddr,
    kind: Type,
    protocol: Protocol,
    options: &Options,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if let Some(bytes) = options.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn shared_sockets_share_and_others_do_not() {
        let first = tcp(ANY_PORT, &Options::shared()).expect("a free port");
        let address = first.local_addr().expect("an address");
        tcp(address, &Options::shared()).expect("shared");
        let error = tcp(address, &Options::default()).expect_err("in use");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        let first = udp(ANY_PORT, &Options::shared()).expect("a free port");
        let address = first.local_addr().expect("an address");
        udp(address, &Options::shared()).expect("shared");
        udp(address, &Options::default()).expect_err("in use");
    }
}
