//! Takes datagrams from a socket, counts them, tells the minutes that are over.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::Clock;
use base::event::{EventBatch, EventSink};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::datagram::{DATAGRAM_BYTES_MAX, Datagram};
use super::matrix::{Matrix, MatrixStats};
use crate::traffic::plan::Directory;

/// How often minutes that are over are looked for.
const FLUSH_PERIOD: Duration = Duration::from_secs(5);
/// How long after its end a minute may still get samples.
const LATE: Duration = Duration::from_secs(10);
/// Octets that the kernel keeps while we are busy.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// A collector of samples.
#[derive(Debug, Clone, Default)]
pub struct Collector {
    matrix: Arc<Mutex<Matrix>>,
}

impl Collector {
    /// How it goes.
    pub fn stats(&self) -> MatrixStats {
        self.lock().stats()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Matrix> {
        self.matrix.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a socket with room for bursts.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn bind(address: std::net::SocketAddr) -> std::io::Result<UdpSocket> {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::DGRAM,
            Some(socket2::Protocol::UDP),
        )?;
        // A smaller buffer only loses more in a burst.
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).ok();
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        UdpSocket::from_std(socket.into())
    }

    /// Collects until told to stop; what is counted is told then too.
    pub async fn run(
        self,
        socket: UdpSocket,
        directory: watch::Receiver<Arc<Directory>>,
        sink: Arc<dyn EventSink>,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let mut flush = tokio::time::interval(FLUSH_PERIOD);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = flush.tick() => {
                    let now = clock.now();
                    let late = base::Timestamp(now.micros() - LATE.as_micros() as i64);
                    self.tell(sink.as_ref(), late);
                }
                received = socket.recv_from(&mut buffer) => match received {
                    Ok((length, _)) => {
                        let directory = Arc::clone(&directory.borrow());
                        self.take(&directory, &buffer[..length], clock.now());
                    }
                    Err(error) => {
                        tracing::warn!(%error, "Samples could not be received");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
        self.tell(sink.as_ref(), base::Timestamp(i64::MAX));
    }

    /// Counts one datagram.
    pub fn take(&self, directory: &Directory, bytes: &[u8], at: base::Timestamp) {
        match Datagram::decode(bytes) {
            Ok(datagram) => self.lock().add(directory, &datagram, at),
            Err(error) => {
                tracing::debug!(%error, "A datagram of samples could not be read");
                self.lock().malformed();
            }
        }
    }

    fn tell(&self, sink: &dyn EventSink, before: base::Timestamp) {
        let flows = self.lock().take(before);
        for batch in flows.chunks(EventBatch::EVENTS_MAX) {
            sink.offer(EventBatch::Flows(batch.to_vec()));
        }
    }
}
