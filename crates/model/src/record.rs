//! Records: one measurement each of an application's latency, beside the network's on the same connection. The same type
//! in a bot's channel, on the control plane, in the store and in the data set.
//!
//! Durations and times are whole microseconds: a JSON number keeps them exactly in every language.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{BootId, UnixNanos, WorkerName};
use crate::sample::UnknownWord;

/// Version of a record's JSON; it changes only where an old reader would misunderstand a new record.
pub const RECORD_VERSION: u32 = 1;

/// What was timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Gateway heartbeat (op 1) to its ACK (op 11).
    GatewayHeartbeat,
    /// REST request to its whole answer, without any wait for a rate limit.
    Rest,
    /// POST of a message to the gateway's MESSAGE_CREATE of it.
    MessageEcho,
    /// The gateway's event of an interaction to the moment the bot's answer to it was accepted.
    Interaction,
    /// Voice gateway heartbeat (op 3) to its ACK (op 6).
    VoiceHeartbeat,
    /// A query for a media host's name, by whichever program of the host, as it was seen on the wire.
    MediaDns,
    /// The network's own latency to a media host: resolver, ICMP echo, TCP connect.
    MediaPing,
}

impl Metric {
    pub const ALL: [Metric; 7] = [
        Metric::GatewayHeartbeat,
        Metric::Rest,
        Metric::MessageEcho,
        Metric::Interaction,
        Metric::VoiceHeartbeat,
        Metric::MediaDns,
        Metric::MediaPing,
    ];

    /// Whether it times an application: the rest is the network's alone.
    pub const fn is_application(self) -> bool {
        !matches!(self, Metric::MediaDns | Metric::MediaPing)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Metric::GatewayHeartbeat => "gateway_heartbeat",
            Metric::Rest => "rest",
            Metric::MessageEcho => "message_echo",
            Metric::Interaction => "interaction",
            Metric::VoiceHeartbeat => "voice_heartbeat",
            Metric::MediaDns => "media_dns",
            Metric::MediaPing => "media_ping",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Metric {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Metric, UnknownWord> {
        Metric::ALL.into_iter().find(|metric| metric.name() == text).ok_or_else(|| UnknownWord {
            what: "metric",
            given: text.to_owned(),
            allowed: "gateway_heartbeat, rest, message_echo, interaction, voice_heartbeat, media_dns, media_ping",
        })
    }
}

/// Names a record for ever, whichever way it came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordId {
    pub worker: WorkerName,
    #[serde(with = "hex_boot")]
    pub boot: BootId,
    /// Counts up within a boot, from 1.
    pub counter: u64,
}

/// Which program measured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Instrument {
    /// The library and its version, such as `twilight 0.18`: 1 to 40 printable ASCII characters.
    pub library: String,
    /// Its language: 1 to 20 printable ASCII characters.
    pub language: String,
    /// The bot's own version: 1 to 20 printable ASCII characters.
    pub version: String,
}

/// What was measured. Absent values were not observable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measurement {
    pub metric: Metric,
    /// When it began, on the worker's clock: microseconds since the epoch.
    pub at_us: i64,
    /// Raw stamps around the exchange, on the worker's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_us: Option<i64>,
    /// The application's latency. Absent: no answer came (`flags` say why).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_us: Option<u64>,
    /// What the library itself calls its latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub library_us: Option<u64>,
    /// The kernel's TCP_INFO `min_rtt` of the same connection: this host to the far end of that connection, which for
    /// Discord's REST and gateway is the edge, not the origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_us: Option<u64>,
    /// An own TCP connect to the same address and port, the second source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_us: Option<u64>,
    /// IP-discovery round trip over UDP to the same voice server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_us: Option<u64>,
    /// Query to answer of the media host's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_us: Option<u64>,
    /// ICMP echo round trip to the media host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_us: Option<u64>,
    /// Which resolver was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolver: Option<IpAddr>,
    /// What the name stands for, as the answer had it (for HTTPS records: their hints); at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Time spent waiting for a rate limit before the request; not part of `app_us`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wait_us: u64,
    /// What was asked: `GET /users/@me`, or a voice server's `HOST:PORT`, or the name that was looked up. At most 120 printable ASCII characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// Words of `a-z0-9-`, at most 8 of at most 32 characters: `event-loop-stall`, `clock-off`, `timeout`, `status-503`,
    /// `edge-ams` (the edge's location as the answer names it), `near-interval` (a latency close to the heartbeat's own
    /// interval, which some libraries report by mistake). Of names: the type asked for (`a`, `aaaa`, `https`), `tcp`,
    /// `no-answer`, `nxdomain`, `rcode-2`, `truncated`; of pings: `configured` (not seen in DNS), `no-icmp`, `no-address`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    #[serde(flatten)]
    pub id: RecordId,
    #[serde(flatten)]
    pub instrument: Instrument,
    #[serde(flatten)]
    pub measured: Measurement,
}

/// A value of a record was out of its documented range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid record: {0}")]
pub struct InvalidRecord(pub &'static str);

/// The first and last moments a record may name: 2015, when Discord began, and 2200.
const FIRST_US: i64 = 1_420_070_400_000_000;
const LAST_US: i64 = 7_258_118_400_000_000;
const LONGEST_US: u64 = 3_600_000_000;
/// Of one answer.
pub const MOST_ADDRESSES: usize = 16;

fn is_printable(text: &str, longest: usize) -> bool {
    text.len() <= longest && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

impl Instrument {
    pub fn check(&self) -> Result<(), InvalidRecord> {
        let named = |text: &str, longest| !text.is_empty() && is_printable(text, longest);
        match named(&self.library, 40) && named(&self.language, 20) && named(&self.version, 20) {
            true => Ok(()),
            false => Err(InvalidRecord("library, language or version is empty, too long or not printable")),
        }
    }
}

impl Measurement {
    /// An exchange that began then; everything else is still to be filled in.
    pub fn new(metric: Metric, at: UnixNanos) -> Measurement {
        Measurement {
            metric,
            at_us: micros(at),
            sent_us: None,
            received_us: None,
            app_us: None,
            library_us: None,
            network_us: None,
            connect_us: None,
            udp_us: None,
            dns_us: None,
            icmp_us: None,
            resolver: None,
            addresses: Vec::new(),
            wait_us: 0,
            target: String::new(),
            flags: Vec::new(),
        }
    }

    pub fn flag(&mut self, word: &str) {
        if self.flags.len() < 8 && !self.flags.iter().any(|flag| flag == word) {
            self.flags.push(word.to_owned());
        }
    }

    pub fn check(&self) -> Result<(), InvalidRecord> {
        let times = [Some(self.at_us), self.sent_us, self.received_us];
        let network = [self.network_us, self.connect_us, self.udp_us, self.dns_us, self.icmp_us];
        let timed = if self.metric.is_application() { self.app_us } else { network.into_iter().flatten().next() };
        let spans = network.into_iter().chain([self.app_us, self.library_us, Some(self.wait_us)]);
        let word = |flag: &String| {
            (1..=32).contains(&flag.len())
                && flag.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if times.into_iter().flatten().any(|at| !(FIRST_US..LAST_US).contains(&at)) {
            Err(InvalidRecord("a time is before 2015 or after 2200"))
        } else if spans.flatten().any(|span| span > LONGEST_US) {
            Err(InvalidRecord("a duration is longer than an hour"))
        } else if matches!((self.sent_us, self.received_us), (Some(sent), Some(received)) if received < sent) {
            Err(InvalidRecord("it was received before it was sent"))
        } else if !is_printable(&self.target, 120) {
            Err(InvalidRecord("the target is too long or not printable"))
        } else if self.flags.len() > 8 || !self.flags.iter().all(word) {
            Err(InvalidRecord("there are more than 8 flags, or one is not a word of a-z, 0-9 and '-'"))
        } else if self.addresses.len() > MOST_ADDRESSES {
            Err(InvalidRecord("there are more than 16 addresses"))
        } else if timed.is_none() && self.flags.is_empty() {
            Err(InvalidRecord("it has no latency and does not say why"))
        } else {
            Ok(())
        }
    }
}

impl Record {
    pub fn check(&self) -> Result<(), InvalidRecord> {
        if self.id.counter == 0 || self.id.counter > i64::MAX as u64 {
            return Err(InvalidRecord("counters start at 1"));
        }
        self.instrument.check()?;
        self.measured.check()
    }
}

/// What a worker calls itself in what it measures; bots are of other libraries.
pub const WORKER_LIBRARY: &str = concat!("netlat ", env!("CARGO_PKG_VERSION"));

/// Whether a worker measured it, of whatever version.
pub fn is_worker(library: &str) -> bool {
    library.starts_with("netlat ")
}

/// Whole microseconds, rounded down.
pub fn micros(at: UnixNanos) -> i64 {
    at.0.div_euclid(1000)
}

/// 16 hexadecimal digits: a JSON number of this size would be rounded by readers that know doubles only.
pub mod hex_boot {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::ids::BootId;

    pub fn serialize<S: Serializer>(boot: &BootId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", boot.0))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BootId, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| de::Error::custom("a boot id has 16 hexadecimal digits"))
    }

    pub fn parse(text: &str) -> Option<BootId> {
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        digits.then(|| u64::from_str_radix(text, 16).ok().map(BootId)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let at = UnixNanos(1_790_000_000_123_456_789);
        Record {
            id: RecordId { worker: WorkerName::new("nyc1").unwrap(), boot: BootId(u64::MAX - 1), counter: 7 },
            instrument: Instrument {
                library: "twilight 0.18".to_owned(),
                language: "rust".to_owned(),
                version: "0.1.0".to_owned(),
            },
            measured: Measurement { app_us: Some(182_000), ..Measurement::new(Metric::Rest, at) },
        }
    }

    #[test]
    fn its_json_is_flat_and_exact() {
        let record = record();
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(
            text,
            "{\"worker\":\"nyc1\",\"boot\":\"fffffffffffffffe\",\"counter\":7,\"library\":\"twilight 0.18\",\
             \"language\":\"rust\",\"version\":\"0.1.0\",\"metric\":\"rest\",\"at_us\":1790000000123456,\"app_us\":182000}"
        );
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        assert_eq!(record().check(), Ok(()));
        let changed = |change: &dyn Fn(&mut Record)| {
            let mut record = record();
            change(&mut record);
            record.check().is_err()
        };
        assert!(changed(&|r| r.id.counter = 0));
        assert!(changed(&|r| r.instrument.library = String::new()));
        assert!(changed(&|r| r.instrument.language = "r\u{1b}".to_owned()));
        assert!(changed(&|r| r.measured.at_us = 0));
        assert!(changed(&|r| r.measured.app_us = Some(u64::MAX)));
        assert!(changed(&|r| r.measured.app_us = None));
        assert!(changed(&|r| (r.measured.sent_us, r.measured.received_us) = (Some(LAST_US - 1), Some(FIRST_US))));
        assert!(changed(&|r| r.measured.target = "x".repeat(121)));
        assert!(changed(&|r| r.measured.flags = vec!["No".to_owned()]));
        assert!(changed(&|r| r.measured.flags = vec!["a".to_owned(); 9]));
        assert!(changed(&|r| r.measured.addresses = vec![[192, 0, 2, 1].into(); 17]));
        // Of the network alone no application's latency is expected, but some.
        assert!(changed(&|r| r.measured.metric = Metric::MediaPing));
        assert!(!changed(&|r| (r.measured.metric, r.measured.icmp_us) = (Metric::MediaPing, Some(9_000))));
    }

    #[test]
    fn a_boot_of_another_shape_is_refused() {
        for bad in ["", "1", "FFFFFFFFFFFFFFFF", "+fffffffffffffff", "00000000000000000"] {
            assert_eq!(hex_boot::parse(bad), None, "{bad}");
        }
    }
}
