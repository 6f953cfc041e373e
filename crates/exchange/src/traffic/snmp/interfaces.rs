//! The interfaces of an agent: `ifTable` and `ifXTable` (RFC 2863), read by GetBulk.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::client::{Client, SnmpError};
use super::message::Value;
use super::oid::Oid;

/// Interfaces of one agent that are read.
pub const INTERFACES_MAX: usize = 4_096;
/// Characters of a name or alias that are kept.
const TEXT_CHARS_MAX: usize = 128;
/// Rows asked for at once; halved when the agent finds the answer too big.
const REPETITIONS: u16 = 10;
/// Columns asked for at once.
const COLUMNS_AT_ONCE: usize = 12;

/// `sysUpTime.0`, asked for with every question.
const UPTIME: [u32; 8] = [1, 3, 6, 1, 2, 1, 1, 3];
/// `ifEntry`.
const IF: [u32; 9] = [1, 3, 6, 1, 2, 1, 2, 2, 1];
/// `ifXEntry`.
const IFX: [u32; 10] = [1, 3, 6, 1, 2, 1, 31, 1, 1, 1];

/// A counter, and of how many bits it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// Its value.
    pub value: u64,
    /// Whether it has 64 bits; otherwise it starts over at 2^32.
    pub wide: bool,
}

/// One interface at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// `ifIndex`.
    pub index: u32,
    /// `ifName`, or `ifDescr` where there is none.
    pub name: String,
    /// `ifAlias`: what the operator wrote there.
    pub alias: String,
    /// `ifOperStatus` is up.
    pub up: bool,
    /// `ifHighSpeed`, in bits per second; 0: the agent does not say.
    pub speed_bps: u64,
    /// `ifCounterDiscontinuityTime`.
    pub discontinuity: u32,
    /// In, out.
    pub octets: [Option<Counter>; 2],
    /// Unicast, multicast and broadcast packets; in, out.
    pub packets: [Option<Counter>; 2],
    /// In, out.
    pub errors: [Option<Counter>; 2],
    /// In, out.
    pub discards: [Option<Counter>; 2],
    /// When its octets were heard.
    pub at: Instant,
}

/// What an agent says at one moment.
#[derive(Debug, Clone)]
pub struct Reading {
    /// `sysUpTime`, in hundredths of a second.
    pub uptime: u32,
    /// Its interfaces by `ifIndex`.
    pub interfaces: BTreeMap<u32, Interface>,
}

/// A column: of the extended table or not, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Column(bool, u32);

impl Column {
    fn root(self) -> Oid {
        if self.0 {
            Oid::new(&IFX).child(self.1)
        } else {
            Oid::new(&IF).child(self.1)
        }
    }
}

const DESCR: Column = Column(false, 2);
const STATUS: Column = Column(false, 8);
const IN_OCTETS: Column = Column(false, 10);
const IN_UNICAST: Column = Column(false, 11);
const IN_DISCARDS: Column = Column(false, 13);
const IN_ERRORS: Column = Column(false, 14);
const OUT_OCTETS: Column = Column(false, 16);
const OUT_UNICAST: Column = Column(false, 17);
const OUT_DISCARDS: Column = Column(false, 19);
const OUT_ERRORS: Column = Column(false, 20);
const NAME: Column = Column(true, 1);
const HC_IN_OCTETS: Column = Column(true, 6);
const HC_IN_UNICAST: Column = Column(true, 7);
const HC_IN_MULTICAST: Column = Column(true, 8);
const HC_IN_BROADCAST: Column = Column(true, 9);
const HC_OUT_OCTETS: Column = Column(true, 10);
const HC_OUT_UNICAST: Column = Column(true, 11);
const HC_OUT_MULTICAST: Column = Column(true, 12);
const HC_OUT_BROADCAST: Column = Column(true, 13);
const HIGH_SPEED: Column = Column(true, 15);
const ALIAS: Column = Column(true, 18);
const DISCONTINUITY: Column = Column(true, 19);

/// What is counted, first of all: these are to be of one moment.
const COUNTED: [Column; 9] = [
    HC_IN_OCTETS,
    HC_OUT_OCTETS,
    HC_IN_UNICAST,
    HC_OUT_UNICAST,
    HC_IN_MULTICAST,
    HC_OUT_MULTICAST,
    HC_IN_BROADCAST,
    HC_OUT_BROADCAST,
    DISCONTINUITY,
];
/// What else is read.
const DESCRIBED: [Column; 8] = [
    NAME,
    STATUS,
    HIGH_SPEED,
    ALIAS,
    IN_ERRORS,
    OUT_ERRORS,
    IN_DISCARDS,
    OUT_DISCARDS,
];
/// Read only of agents that have no 64-bit counters.
const NARROW: [Column; 4] = [IN_OCTETS, OUT_OCTETS, IN_UNICAST, OUT_UNICAST];

type Cells = BTreeMap<(Column, u32), (Value, Instant)>;

/// Reads all interfaces.
///
/// # Errors
/// See [`SnmpError`]; an agent that goes round in circles or never ends is left.
pub async fn read(client: &mut Client) -> Result<Reading, SnmpError> {
    let mut cells = Cells::new();
    let uptime = walk(client, &COUNTED, &mut cells).await?;
    walk(client, &DESCRIBED, &mut cells).await?;
    if !cells.keys().any(|(column, _)| *column == HC_IN_OCTETS) {
        walk(client, &NARROW, &mut cells).await?;
    }
    if !cells.keys().any(|(column, _)| *column == NAME) {
        walk(client, &[DESCR], &mut cells).await?;
    }
    Ok(Reading {
        uptime,
        interfaces: gather(&cells),
    })
}

/// Reads columns to their ends; gives `sysUpTime` as of the first answer.
async fn walk(
    client: &mut Client,
    columns: &[Column],
    cells: &mut Cells,
) -> Result<u32, SnmpError> {
    let mut uptime = None;
    for columns in columns.chunks(COLUMNS_AT_ONCE) {
        let mut open: Vec<(Column, Oid)> = columns.iter().map(|c| (*c, c.root())).collect();
        let mut repetitions = REPETITIONS;
        while !open.is_empty() {
            let mut asked = vec![Oid::new(&UPTIME)];
            asked.extend(open.iter().map(|(_, oid)| oid.clone()));
            let answer = match client.get_bulk(1, repetitions, &asked).await {
                Err(error) if error.is_too_big() && repetitions > 1 => {
                    repetitions /= 2;
                    continue;
                }
                answer => answer?,
            };
            let at = Instant::now();
            let mut values = answer.into_iter();
            if let Some((_, Value::Ticks(ticks))) = values.next() {
                uptime.get_or_insert(ticks);
            }
            let rest: Vec<_> = values.collect();
            if rest.is_empty() {
                // Not one row fitted, or the agent is broken: either way it has no more.
                break;
            }
            sort_in(client, rest, &mut open, cells, at)?;
        }
    }
    Ok(uptime.unwrap_or(0))
}

/// Puts the rows of an answer where they belong, and moves each column on.
fn sort_in(
    client: &Client,
    answer: Vec<(Oid, Value)>,
    open: &mut Vec<(Column, Oid)>,
    cells: &mut Cells,
    at: Instant,
) -> Result<(), SnmpError> {
    let width = open.len();
    let mut ended = vec![false; width];
    let mut heard = vec![false; width];
    for (i, (oid, value)) in answer.into_iter().enumerate() {
        let place = i % width;
        heard[place] = true;
        if ended[place] {
            continue;
        }
        let (column, last) = &mut open[place];
        let index = match oid.below(&column.root()) {
            Some([index]) if value != Value::EndOfView => *index,
            _ => {
                ended[place] = true;
                continue;
            }
        };
        if oid <= *last {
            return Err(SnmpError::Circular {
                target: client.target(),
                at: oid,
            });
        }
        *last = oid;
        cells.insert((*column, index), (value, at));
        if cells.len() > INTERFACES_MAX * (COUNTED.len() + DESCRIBED.len() + NARROW.len() + 1) {
            return Err(SnmpError::TooMany {
                target: client.target(),
                max: INTERFACES_MAX,
            });
        }
    }
    let mut place = 0;
    open.retain(|_| {
        let keep = !ended[place] && heard[place];
        place += 1;
        keep
    });
    Ok(())
}

fn gather(cells: &Cells) -> BTreeMap<u32, Interface> {
    let value = |column, index| cells.get(&(column, index)).map(|(value, _)| value);
    let counter = |column: Column, index: u32| {
        let (value, wide) = value(column, index)?.count()?;
        Some(Counter { value, wide })
    };
    let text = |column, index| match value(column, index) {
        Some(Value::Octets(bytes)) => String::from_utf8_lossy(bytes)
            .chars()
            .filter(|c| !c.is_control())
            .take(TEXT_CHARS_MAX)
            .collect(),
        _ => String::new(),
    };
    let sum = |columns: [Column; 3], index| {
        let parts = columns.map(|column| counter(column, index));
        let known: Vec<Counter> = parts.into_iter().flatten().collect();
        known.first().map(|first| Counter {
            value: known.iter().fold(0u64, |sum, c| sum.wrapping_add(c.value)),
            wide: first.wide,
        })
    };
    let mut indexes: Vec<u32> = cells.keys().map(|(_, index)| *index).collect();
    indexes.sort_unstable();
    indexes.dedup();
    let mut all = BTreeMap::new();
    for index in indexes {
        let octets =
            |wide: Column, narrow: Column| counter(wide, index).or_else(|| counter(narrow, index));
        let Some(at) = [HC_IN_OCTETS, IN_OCTETS]
            .into_iter()
            .find_map(|column| Some(cells.get(&(column, index))?.1))
        else {
            continue;
        };
        let name = Some(text(NAME, index))
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| text(DESCR, index));
        all.insert(
            index,
            Interface {
                index,
                name: if name.is_empty() {
                    index.to_string()
                } else {
                    name
                },
                alias: text(ALIAS, index),
                up: value(STATUS, index) == Some(&Value::Integer(1)),
                speed_bps: counter(HIGH_SPEED, index)
                    .map_or(0, |mbps| mbps.value.saturating_mul(1_000_000)),
                discontinuity: counter(DISCONTINUITY, index).map_or(0, |c| c.value as u32),
                octets: [
                    octets(HC_IN_OCTETS, IN_OCTETS),
                    octets(HC_OUT_OCTETS, OUT_OCTETS),
                ],
                packets: [
                    sum([HC_IN_UNICAST, HC_IN_MULTICAST, HC_IN_BROADCAST], index)
                        .or_else(|| counter(IN_UNICAST, index)),
                    sum([HC_OUT_UNICAST, HC_OUT_MULTICAST, HC_OUT_BROADCAST], index)
                        .or_else(|| counter(OUT_UNICAST, index)),
                ],
                errors: [counter(IN_ERRORS, index), counter(OUT_ERRORS, index)],
                discards: [counter(IN_DISCARDS, index), counter(OUT_DISCARDS, index)],
                at,
            },
        );
        if all.len() == INTERFACES_MAX {
            break;
        }
    }
    all
}
