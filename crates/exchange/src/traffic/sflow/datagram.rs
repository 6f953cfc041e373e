//! Datagrams: XDR (RFC 4506) read into samples; everything unknown is passed over
//! by its length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Octets of a datagram that is read.
pub const DATAGRAM_BYTES_MAX: usize = 65_507;
/// Samples of one datagram.
pub const SAMPLES_MAX: usize = 1_000;
/// Records of one sample.
const RECORDS_MAX: usize = 64;
/// Octets of a sampled frame's head that are kept.
pub const HEADER_BYTES_MAX: usize = 512;

/// Why a datagram cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SflowError {
    /// It is cut short.
    #[error("an sFlow datagram ends within {0}")]
    Short(&'static str),
    /// Another version.
    #[error("sFlow version {0}: only 5 is read")]
    Version(u32),
    /// An address that is neither IPv4 nor IPv6.
    #[error("an agent's address of type {0}: must be 1 (IPv4) or 2 (IPv6)")]
    Address(u32),
    /// More than is read.
    #[error("{value} {what}: must be at most {max}")]
    Bound {
        /// Of what.
        what: &'static str,
        /// How many.
        value: u32,
        /// The limit.
        max: usize,
    },
}

/// A datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The switch, as it names itself.
    pub agent: IpAddr,
    /// Which of its processes.
    pub sub_agent: u32,
    /// Its number.
    pub sequence: u32,
    /// Milliseconds since the switch started.
    pub uptime_ms: u32,
    /// Samples of packets.
    pub flows: Vec<FlowSample>,
    /// Samples of counters.
    pub counters: Vec<CounterSample>,
    /// Samples and records of kinds that are passed over.
    pub unknown: usize,
}

/// Where a packet came in or went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// One interface, by `ifIndex`.
    Index(u32),
    /// Several; or dropped; or not known.
    Other,
}

/// A sampled packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowSample {
    /// The sample's number at its source.
    pub sequence: u32,
    /// The source: type and index.
    pub source: (u32, u32),
    /// One of so many packets is sampled.
    pub rate: u32,
    /// Packets that could have been sampled.
    pub pool: u32,
    /// Samples that the switch dropped.
    pub drops: u32,
    /// Where it came in.
    pub input: Port,
    /// Where it went out.
    pub output: Port,
    /// Its head.
    pub header: Option<Header>,
    /// VLANs on its way in and out, if the switch says.
    pub vlans: Option<(u32, u32)>,
}

/// The head of a sampled frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// `header_protocol`: 1 is Ethernet.
    pub protocol: u32,
    /// Octets of the frame on the line.
    pub frame_length: u32,
    /// The first octets.
    pub bytes: Vec<u8>,
}

/// A sample of an interface's counters (`if_counters`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CounterSample {
    /// `ifIndex`.
    pub index: u32,
    /// `ifSpeed` in bits per second.
    pub speed_bps: u64,
    /// Whether `ifOperStatus` is up.
    pub up: bool,
    /// `ifInOctets`, `ifOutOctets`.
    pub octets: [u64; 2],
    /// Unicast packets in, out.
    pub unicast: [u32; 2],
    /// Packets dropped in, out.
    pub discards: [u32; 2],
    /// Packets with errors in, out.
    pub errors: [u32; 2],
}

struct Xdr<'a>(&'a [u8]);

impl<'a> Xdr<'a> {
    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], SflowError> {
        let (head, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(SflowError::Short(what))?;
        self.0 = rest;
        Ok(head)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, SflowError> {
        let bytes = self.take(4, what)?;
        Ok(bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, SflowError> {
        Ok(u64::from(self.u32(what)?) << 32 | u64::from(self.u32(what)?))
    }

    /// Octets with their length before them, padded to four.
    fn opaque(&mut self, what: &'static str) -> Result<&'a [u8], SflowError> {
        let length = self.u32(what)? as usize;
        let bytes = self.take(length, what)?;
        let padding = length.wrapping_neg() % 4;
        self.take(padding.min(self.0.len()), what)?;
        Ok(bytes)
    }

    fn count(&mut self, what: &'static str, max: usize) -> Result<usize, SflowError> {
        let value = self.u32(what)?;
        if value as usize > max {
            return Err(SflowError::Bound { what, value, max });
        }
        Ok(value as usize)
    }
}

impl Datagram {
    /// Reads a datagram.
    ///
    /// # Errors
    /// Why it cannot be read; nothing of it is used then.
    pub fn decode(bytes: &[u8]) -> Result<Self, SflowError> {
        let mut xdr = Xdr(bytes);
        let version = xdr.u32("the version")?;
        if version != 5 {
            return Err(SflowError::Version(version));
        }
        let agent = match xdr.u32("the agent's address")? {
            1 => {
                let bits = xdr.u32("the agent's address")?;
                IpAddr::V4(Ipv4Addr::from_bits(bits))
            }
            2 => {
                let bytes = xdr.take(16, "the agent's address")?;
                let bits = bytes.iter().fold(0, |sum, b| sum << 8 | u128::from(*b));
                IpAddr::V6(Ipv6Addr::from_bits(bits))
            }
            other => return Err(SflowError::Address(other)),
        };
        let mut datagram = Self {
            agent,
            sub_agent: xdr.u32("the sub-agent")?,
            sequence: xdr.u32("the number")?,
            uptime_ms: xdr.u32("the uptime")?,
            flows: Vec::new(),
            counters: Vec::new(),
            unknown: 0,
        };
        for _ in 0..xdr.count("samples", SAMPLES_MAX)? {
            let format = xdr.u32("a sample")?;
            let mut sample = Xdr(xdr.opaque("a sample")?);
            match format {
                1 => datagram.flow(&mut sample, false)?,
                2 => datagram.counter(&mut sample, false)?,
                3 => datagram.flow(&mut sample, true)?,
                4 => datagram.counter(&mut sample, true)?,
                _ => datagram.unknown += 1,
            }
        }
        Ok(datagram)
    }

    fn flow(&mut self, xdr: &mut Xdr<'_>, expanded: bool) -> Result<(), SflowError> {
        let sequence = xdr.u32("a flow sample")?;
        let source = source(xdr, expanded)?;
        let rate = xdr.u32("a flow sample")?;
        let pool = xdr.u32("a flow sample")?;
        let drops = xdr.u32("a flow sample")?;
        let input = port(xdr, expanded)?;
        let output = port(xdr, expanded)?;
        let mut sample = FlowSample {
            sequence,
            source,
            rate,
            pool,
            drops,
            input,
            output,
            header: None,
            vlans: None,
        };
        for _ in 0..xdr.count("records of a sample", RECORDS_MAX)? {
            let format = xdr.u32("a record")?;
            let mut record = Xdr(xdr.opaque("a record")?);
            match format {
                1 => {
                    let protocol = record.u32("a header")?;
                    let frame_length = record.u32("a header")?;
                    record.u32("a header")?;
                    let bytes = record.opaque("a header")?;
                    let kept = bytes.len().min(HEADER_BYTES_MAX);
                    sample.header = Some(Header {
                        protocol,
                        frame_length,
                        bytes: bytes[..kept].to_vec(),
                    });
                }
                1001 => {
                    let incoming = record.u32("a VLAN")?;
                    record.u32("a VLAN")?;
                    sample.vlans = Some((incoming, record.u32("a VLAN")?));
                }
                _ => self.unknown += 1,
            }
        }
        self.flows.push(sample);
        Ok(())
    }

    fn counter(&mut self, xdr: &mut Xdr<'_>, expanded: bool) -> Result<(), SflowError> {
        xdr.u32("a counter sample")?;
        source(xdr, expanded)?;
        for _ in 0..xdr.count("records of a sample", RECORDS_MAX)? {
            let format = xdr.u32("a record")?;
            let mut record = Xdr(xdr.opaque("a record")?);
            if format != 1 {
                self.unknown += 1;
                continue;
            }
            let mut next = || record.u32("an interface's counters");
            let (index, _kind) = (next()?, next()?);
            let speed_bps = record.u64("an interface's counters")?;
            let mut next = || record.u32("an interface's counters");
            let (_direction, status) = (next()?, next()?);
            let in_octets = record.u64("an interface's counters")?;
            let mut next = || record.u32("an interface's counters");
            let (in_unicast, _, _) = (next()?, next()?, next()?);
            let (in_discards, in_errors, _) = (next()?, next()?, next()?);
            let out_octets = record.u64("an interface's counters")?;
            let mut next = || record.u32("an interface's counters");
            let (out_unicast, _, _) = (next()?, next()?, next()?);
            let (out_discards, out_errors) = (next()?, next()?);
            self.counters.push(CounterSample {
                index,
                speed_bps,
                up: status & 2 != 0,
                octets: [in_octets, out_octets],
                unicast: [in_unicast, out_unicast],
                discards: [in_discards, out_discards],
                errors: [in_errors, out_errors],
            });
        }
        Ok(())
    }
}

fn source(xdr: &mut Xdr<'_>, expanded: bool) -> Result<(u32, u32), SflowError> {
    let first = xdr.u32("a sample's source")?;
    if expanded {
        Ok((first, xdr.u32("a sample's source")?))
    } else {
        Ok((first >> 24, first & 0x00ff_ffff))
    }
}

fn port(xdr: &mut Xdr<'_>, expanded: bool) -> Result<Port, SflowError> {
    let first = xdr.u32("a sample's port")?;
    let (format, value) = if expanded {
        (first, xdr.u32("a sample's port")?)
    } else {
        (first >> 30, first & 0x3fff_ffff)
    };
    Ok(match (format, value) {
        // 0x3fffffff is "not known", and 0 is what agents write for it.
        (0, 1..0x3fff_ffff) => Port::Index(value),
        _ => Port::Other,
    })
}

#[cfg(test)]
#[path = "datagram_tests.rs"]
pub(crate) mod tests;
