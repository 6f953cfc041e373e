//! Who sends to whom, minute by minute.
//!
//! A frame is counted where it comes into the exchange: at a member's port. The same
//! frame sampled again on its way between switches is passed over. The sender is whose
//! Ethernet address it bears, else whose port it came in by; the receiver likewise.
//! A frame to many has no receiver.

use std::collections::HashMap;
use std::net::IpAddr;

use base::event::FlowEvent;
use base::{MemberId, Timestamp};

use super::datagram::{Datagram, FlowSample, Port};
use super::packet::Packet;
use crate::traffic::plan::Directory;

/// Pairs of one minute that are kept apart; more come only from forged frames, whose
/// senders are no members and so are one pair.
pub const PAIRS_MAX: usize = 100_000;
/// Agents whose numbers are watched.
const AGENTS_MAX: usize = 1_000;
/// One of at most so many packets is sampled; more is a switch's mistake.
const RATE_MAX: u32 = 16_777_215;
/// Octets of a frame; more is a switch's mistake.
const FRAME_OCTETS_MAX: u32 = 65_549;
/// A number further ahead than this is a start from the beginning, not a loss.
const LOSS_MAX: u32 = 100_000;
const MINUTE_US: i64 = 60_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    minute_us: i64,
    from: Option<MemberId>,
    to: Option<MemberId>,
    ip_version: u8,
    vlan: u16,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    octets: u64,
    packets: u64,
    samples: u64,
}

/// How collecting goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct MatrixStats {
    /// Datagrams taken.
    pub datagrams: u64,
    /// Datagrams that could not be read.
    pub malformed: u64,
    /// Datagrams of agents that are no switch of the plan.
    pub strangers: u64,
    /// Datagrams that were lost on their way, by their numbers.
    pub lost: u64,
    /// Packets counted.
    pub samples: u64,
    /// Packets passed over: sampled on their way between switches.
    pub transit: u64,
    /// Packets whose head does not say who sent them.
    pub unreadable: u64,
    /// Packets of members that are not known.
    pub unknown: u64,
}

/// The matrix of the minutes that are not told yet.
#[derive(Debug, Default)]
pub struct Matrix {
    pairs: HashMap<Key, Sums>,
    numbers: HashMap<(IpAddr, u32), u32>,
    stats: MatrixStats,
}

impl Matrix {
    /// How collecting goes.
    pub const fn stats(&self) -> MatrixStats {
        self.stats
    }

    /// Counts a datagram that could not be read.
    pub const fn malformed(&mut self) {
        self.stats.malformed += 1;
    }

    /// Counts what a datagram samples.
    pub fn add(&mut self, directory: &Directory, datagram: &Datagram, at: Timestamp) {
        let device = directory.device(datagram.agent);
        if device.is_none() && !directory.is_empty() {
            self.stats.strangers += 1;
            return;
        }
        self.stats.datagrams += 1;
        self.number(datagram);
        for sample in &datagram.flows {
            self.sample(directory, device, sample, at);
        }
    }

    /// Compares a datagram's number with the last one of its sender.
    fn number(&mut self, datagram: &Datagram) {
        let key = (datagram.agent, datagram.sub_agent);
        if self.numbers.len() >= AGENTS_MAX && !self.numbers.contains_key(&key) {
            return;
        }
        let last = self.numbers.insert(key, datagram.sequence);
        let ahead = last.map_or(1, |last| datagram.sequence.wrapping_sub(last));
        if (2..LOSS_MAX).contains(&ahead) {
            self.stats.lost += u64::from(ahead - 1);
        }
    }

    fn sample(
        &mut self,
        directory: &Directory,
        device: Option<usize>,
        sample: &FlowSample,
        at: Timestamp,
    ) {
        let port = |port| match (device, port) {
            (Some(device), Port::Index(index)) => directory.port_at(device, index),
            _ => None,
        };
        let input = port(sample.input);
        // A switch may sample what goes out as well: that was counted at its way in.
        let goes_out = sample.source.0 == 0
            && matches!(sample.input, Port::Index(index) if index != sample.source.1)
            && sample.output == Port::Index(sample.source.1);
        if goes_out || input.as_ref().is_some_and(|port| port.core) {
            self.stats.transit += 1;
            return;
        }
        let Some((header, packet)) = sample
            .header
            .as_ref()
            .filter(|header| header.protocol == 1)
            .and_then(|header| Some((header, Packet::decode(&header.bytes)?)))
        else {
            self.stats.unreadable += 1;
            return;
        };
        let from = directory
            .by_mac(packet.from)
            .or_else(|| input.and_then(|port| port.member))
            .or_else(|| directory.by_address(packet.addresses?.0));
        let to = if packet.is_multicast() {
            None
        } else {
            directory
                .by_mac(packet.to)
                .or_else(|| port(sample.output).and_then(|port| port.member))
                .or_else(|| directory.by_address(packet.addresses?.1))
        };
        self.stats.samples += 1;
        self.stats.unknown += u64::from(from.is_none());
        let vlan = match packet.vlan {
            0 => sample.vlans.map_or(0, |(vlan, _)| (vlan & 0x0fff) as u16),
            tagged => tagged,
        };
        let mut key = Key {
            minute_us: at.micros() - at.micros().rem_euclid(MINUTE_US),
            from,
            to,
            ip_version: packet.ip_version(),
            vlan,
        };
        if self.pairs.len() >= PAIRS_MAX && !self.pairs.contains_key(&key) {
            key = Key {
                from: None,
                to: None,
                ip_version: 0,
                vlan: 0,
                ..key
            };
        }
        let rate = u64::from(sample.rate.clamp(1, RATE_MAX));
        let octets = u64::from(header.frame_length.min(FRAME_OCTETS_MAX));
        let sums = self.pairs.entry(key).or_default();
        sums.octets = sums.octets.saturating_add(octets * rate);
        sums.packets = sums.packets.saturating_add(rate);
        sums.samples += 1;
    }

    /// Takes the minutes that began before `before`, in their order.
    pub fn take(&mut self, before: Timestamp) -> Vec<FlowEvent> {
        let mut told: Vec<(Key, Sums)> = Vec::new();
        self.pairs.retain(|key, sums| {
            let keep = key.minute_us + MINUTE_US > before.micros();
            if !keep {
                told.push((*key, *sums));
            }
            keep
        });
        told.sort_unstable_by_key(|(key, _)| *key);
        let event = |(key, sums): (Key, Sums)| FlowEvent {
            at: Timestamp(key.minute_us),
            from: key.from,
            to: key.to,
            ip_version: key.ip_version,
            vlan: key.vlan,
            octets: sums.octets,
            packets: sums.packets,
            samples: sums.samples,
        };
        told.into_iter().map(event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::plan::{Device, Plan, PlanPort, PlanRouter};
    use crate::traffic::sflow::datagram::tests::datagram;
    use crate::traffic::sflow::packet::tests::frame;
    use base::PortId;

    const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const B: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const X: [u8; 6] = [2, 0, 0, 0, 0, 9];

    fn members() -> [MemberId; 2] {
        [1, 2].map(|n| MemberId(uuid::Uuid::from_u128(n)))
    }

    fn directory() -> Directory {
        let [a, b] = members();
        let port = |name: &str, member, core| PlanPort {
            name: name.into(),
            port: Some(PortId::generate()),
            member,
            org: None,
            core,
            wanted_up: true,
            speed_bps: 10_000_000_000,
        };
        let plan = Plan {
            devices: vec![Device {
                name: "sw1".into(),
                site: "hsinchu".into(),
                address: "192.0.2.1".parse().expect("an address"),
                port: 161,
                access: None,
                interval_s: 30,
                agents: Vec::new(),
                ports: vec![
                    port("Ethernet1", Some(a), false),
                    port("Ethernet2", Some(b), false),
                    port("Ethernet49", None, true),
                ],
            }],
            routers: vec![
                PlanRouter {
                    member: a,
                    mac: Some(A),
                    addresses: vec!["192.0.2.11".parse().expect("an address")],
                },
                PlanRouter {
                    member: b,
                    mac: Some(B),
                    addresses: Vec::new(),
                },
            ],
        };
        let directory = Directory::new(&plan);
        let learned = [(1, "ethernet1"), (2, "Ethernet2"), (49, "Ethernet49")];
        directory.learn(0, learned.into_iter());
        directory
    }

    fn count(samples: &[(&[u8], u32, u32)]) -> (Vec<FlowEvent>, MatrixStats) {
        let directory = directory();
        let mut matrix = Matrix::default();
        for (frame, input, output) in samples {
            let read = Datagram::decode(&datagram(frame, 1_000, *input, *output)).expect("reads");
            matrix.add(&directory, &read, Timestamp(90_000_000));
        }
        assert!(matrix.take(Timestamp(60_000_000)).is_empty(), "still open");
        (matrix.take(Timestamp(120_000_000)), matrix.stats())
    }

    #[test]
    fn frames_count_for_their_members_by_rate() {
        let [a, b] = members();
        let (there, back) = (frame(B, A, &[10], 4), frame(A, B, &[10], 6));
        let (flows, stats) = count(&[(&there, 1, 2), (&there, 1, 2), (&back, 2, 1)]);
        assert_eq!(stats.samples, 3);
        assert_eq!(flows.len(), 2);
        assert_eq!(
            flows[0],
            FlowEvent {
                at: Timestamp(60_000_000),
                from: Some(a),
                to: Some(b),
                ip_version: 4,
                vlan: 10,
                octets: 2 * 1_514_000,
                packets: 2_000,
                samples: 2,
            }
        );
        assert_eq!((flows[1].from, flows[1].to), (Some(b), Some(a)));
    }

    #[test]
    fn a_frame_is_counted_once_on_its_way_through_the_exchange() {
        let there = frame(B, A, &[10], 4);
        let (flows, stats) = count(&[(&there, 1, 49), (&there, 49, 2)]);
        assert_eq!(stats.transit, 1);
        assert_eq!(flows.iter().map(|flow| flow.samples).sum::<u64>(), 1);
    }

    #[test]
    fn ports_tell_whose_a_strange_address_is_and_many_is_nobody() {
        let [a, b] = members();
        let strange = frame(X, X, &[], 4);
        let all = frame([0xff; 6], A, &[], 0);
        let (flows, stats) = count(&[(&strange, 1, 2), (&all, 1, 0), (&strange, 77, 78)]);
        assert_eq!(stats.unknown, 1);
        let pairs: Vec<_> = flows.iter().map(|flow| (flow.from, flow.to)).collect();
        assert!(pairs.contains(&(Some(a), Some(b))), "{pairs:?}");
        assert!(pairs.contains(&(Some(a), None)));
        assert!(pairs.contains(&(None, None)));
        // The switch says the VLAN where the frame does not.
        assert!(flows.iter().all(|flow| flow.vlan == 10));
    }

    #[test]
    fn strangers_do_not_count_and_losses_are_seen() {
        let directory = directory();
        let mut matrix = Matrix::default();
        let mut read = Datagram::decode(&datagram(&frame(B, A, &[], 4), 1, 1, 2)).expect("reads");
        for sequence in [1, 2, 5, 5_000_000] {
            read.sequence = sequence;
            matrix.add(&directory, &read, Timestamp(0));
        }
        assert_eq!((matrix.stats().lost, matrix.stats().datagrams), (2, 4));
        read.agent = "203.0.113.1".parse().expect("an address");
        matrix.add(&directory, &read, Timestamp(0));
        assert_eq!(matrix.stats().strangers, 1);
        assert_eq!(matrix.stats().samples, 4);
    }
}
