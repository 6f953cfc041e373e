//! Telling systemd about readiness (`sd_notify(3)`), without its library: one
//! datagram to the socket named in `NOTIFY_SOCKET`.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The process is ready.
pub const READY: &str = "READY=1";
/// The process is stopping.
pub const STOPPING: &str = "STOPPING=1";

/// The process that is the service from here on (`MAINPID=`).
pub fn main_pid(pid: u32) -> String {
    format!("MAINPID={pid}")
}

/// Sends `state` to the socket `address`, which is the value of `NOTIFY_SOCKET`:
/// a path, or `@name` for an abstract socket.
///
/// # Errors
/// When the address is no socket address or the datagram cannot be sent.
pub fn notify(address: &str, state: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    let address = match address.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    socket.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

/// As [`notify`], to the socket that the environment names; does nothing when it
/// names none. A failure is logged, because no service should die of it.
pub fn notify_from(env: &dyn crate::config::Env, state: &str) {
    if let Some(address) = env.get("NOTIFY_SOCKET")
        && let Err(error) = notify(&address, state)
    {
        tracing::warn!(%error, address, state, "Cannot notify the service manager");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_socket_gets_the_state() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        notify(path.to_str().expect("a text path"), READY).expect("sent");
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).expect("received");
        assert_eq!(&buffer[..length], READY.as_bytes());
    }
}
