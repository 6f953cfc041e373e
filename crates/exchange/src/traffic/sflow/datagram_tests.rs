use super::*;

/// Writes datagrams as a switch does.
#[derive(Debug, Default, Clone)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn n(mut self, numbers: &[u32]) -> Self {
        for number in numbers {
            self.0.extend_from_slice(&number.to_be_bytes());
        }
        self
    }

    pub(crate) fn opaque(mut self, bytes: &[u8]) -> Self {
        self = self.n(&[bytes.len() as u32]);
        self.0.extend_from_slice(bytes);
        while !self.0.len().is_multiple_of(4) {
            self.0.push(0);
        }
        self
    }
}

/// A datagram of one flow sample around `frame`, and one counter sample.
pub(crate) fn datagram(frame: &[u8], rate: u32, input: u32, output: u32) -> Vec<u8> {
    let header = Writer::default().n(&[1, 1_514, 4]).opaque(frame).0;
    let switch = Writer::default().n(&[10, 0, 10, 0]).0;
    let flow = Writer::default()
        .n(&[1, input, rate, 5_000, 0, input, output, 3])
        .n(&[1])
        .opaque(&header)
        .n(&[1001])
        .opaque(&switch)
        .n(&[4_194_305])
        .opaque(&[1, 2, 3])
        .0;
    let counters = Writer::default()
        .n(&[7, 6, 2, 0x540b_e400, 1, 3, 0, 1_000, 10, 1, 2, 3, 4, 0])
        .n(&[1, 2_000, 20, 1, 2, 5, 6, 0])
        .0;
    let counter = Writer::default().n(&[1, 7, 1, 1]).opaque(&counters).0;
    Writer::default()
        .n(&[5, 1, 0xc000_0201, 0, 1, 60_000, 3])
        .n(&[1])
        .opaque(&flow)
        .n(&[2])
        .opaque(&counter)
        .n(&[99])
        .opaque(b"another enterprise's")
        .0
}

#[test]
fn samples_are_read_and_the_unknown_is_passed_over() {
    let read = Datagram::decode(&datagram(&[0xab; 62], 512, 3, 4)).expect("reads");
    assert_eq!(read.agent, IpAddr::from([192, 0, 2, 1]));
    assert_eq!(read.unknown, 2);
    let flow = &read.flows[0];
    assert_eq!(
        (flow.rate, flow.input, flow.output),
        (512, Port::Index(3), Port::Index(4))
    );
    assert_eq!(flow.vlans, Some((10, 10)));
    let header = flow.header.as_ref().expect("a header");
    assert_eq!((header.frame_length, header.bytes.len()), (1_514, 62));
    assert_eq!(
        read.counters,
        [CounterSample {
            index: 7,
            speed_bps: 10_000_000_000,
            up: true,
            octets: [1_000, (1 << 32) + 2_000],
            unicast: [10, 20],
            discards: [3, 5],
            errors: [4, 6],
        }]
    );
}

#[test]
fn ports_that_are_none_are_told_apart() {
    for (word, port) in [
        (5, Port::Index(5)),
        (0, Port::Other),
        (0x3fff_ffff, Port::Other),
        (0x8000_0003, Port::Other),
        (0x4000_0001, Port::Other),
    ] {
        let read = Datagram::decode(&datagram(&[0; 20], 1, 1, word)).expect("reads");
        assert_eq!(read.flows[0].output, port, "0x{word:08x}");
    }
}

/// Cut short, changed in every byte: an error or another datagram, never a panic and
/// never more than was sent.
#[test]
fn mutations_are_errors_or_datagrams() {
    let good = datagram(&[0xab; 62], 512, 3, 4);
    for cut in 0..good.len() - 3 {
        assert!(Datagram::decode(&good[..cut]).is_err(), "{cut} bytes");
    }
    let mut refused = 0;
    for at in 0..good.len() {
        for change in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            let mut wrong = good.clone();
            wrong[at] = change;
            match Datagram::decode(&wrong) {
                Err(_) => refused += 1,
                Ok(read) => assert!(read.flows.len() + read.counters.len() <= SAMPLES_MAX),
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

/// What pmacct 1.7.7's `sfprobe` sends.
#[test]
fn a_datagram_of_another_hand_is_read() {
    let bytes = include_bytes!("../../../tests/samples/pmacct-1.7.7.sflow");
    let read = Datagram::decode(bytes).expect("reads");
    assert_eq!(read.agent, IpAddr::from([192, 0, 2, 1]));
    assert_eq!(read.sub_agent, 1);
    assert_eq!(read.flows.len(), 6);
    let mut to_port = 0;
    for flow in &read.flows {
        assert_eq!((flow.rate, flow.input), (4, Port::Other));
        let header = flow.header.as_ref().expect("a header");
        let packet = super::super::packet::Packet::decode(&header.bytes).expect("a frame");
        assert_eq!(packet.ip_version(), 4);
        let (from, to) = packet.addresses.expect("addresses");
        let (a, b) = (IpAddr::from([10, 9, 0, 1]), IpAddr::from([10, 9, 0, 2]));
        assert!([(a, b), (b, a)].contains(&(from, to)));
        to_port += usize::from(to == b);
    }
    assert!(to_port > 0);
}
