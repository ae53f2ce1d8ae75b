//! Policies as a scenario file spells them: one flat table whose `kind` decides which other keys it takes.

use model::{Direction, Family};
use serde::Deserialize;
use wire::Dscp;

use crate::policy::{Action, DscpSet, Policy, Protocol, Rate, Scope};

const KINDS: &str = "bleach, clear-precedence, clear-some-precedence, remark-precedence, bleach-low, bleach-some-low, \
     remark, unstable, ecn-bleach, ecn-ect1-to-ect0, ecn-ce, ecn-ce-strip, ecn-drop-ect, drop, police, shape, \
     prioritise, weigh, nat, silent, no-icmp-pass";

/// Up, down, or both.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DirectionText {
    Up,
    Down,
    #[default]
    Both,
}

impl DirectionText {
    pub(crate) fn only(self) -> Option<Direction> {
        match self {
            DirectionText::Up => Some(Direction::Up),
            DirectionText::Down => Some(Direction::Down),
            DirectionText::Both => None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FamilyText {
    Ipv4,
    Ipv6,
    #[default]
    Both,
}

impl FamilyText {
    pub(crate) fn only(self) -> Option<Family> {
        match self {
            FamilyText::Ipv4 => Some(Family::Ipv4),
            FamilyText::Ipv6 => Some(Family::Ipv6),
            FamilyText::Both => None,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProtocolText {
    Udp,
    Tcp,
    Icmp,
}

impl From<ProtocolText> for Protocol {
    fn from(text: ProtocolText) -> Protocol {
        match text {
            ProtocolText::Udp => Protocol::Udp,
            ProtocolText::Tcp => Protocol::Tcp,
            ProtocolText::Icmp => Protocol::Icmp,
        }
    }
}

/// `46` or `"EF"`; `8620` or `"50000-50019"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a number or a text")]
enum NumberOrText {
    Number(u16),
    Text(String),
}

impl std::fmt::Display for NumberOrText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NumberOrText::Number(number) => write!(f, "{number}"),
            NumberOrText::Text(text) => f.write_str(text),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyText {
    kind: String,
    #[serde(default)]
    direction: DirectionText,
    #[serde(default)]
    family: FamilyText,
    protocol: Option<ProtocolText>,
    #[serde(default)]
    ports: Vec<NumberOrText>,
    dscp: Option<Vec<NumberOrText>>,
    precedence: Option<u8>,
    to: Option<NumberOrText>,
    between: Option<[NumberOrText; 2]>,
    share: Option<f64>,
    packets_per_second: Option<u64>,
    burst_packets: Option<u64>,
    bytes_per_second: Option<u64>,
    burst_bytes: Option<u64>,
    bits_per_second: Option<u64>,
    queue_bytes: Option<u64>,
    weight: Option<u32>,
}

impl PolicyText {
    pub(crate) fn kind(&self) -> &str {
        &self.kind
    }

    /// The problem names the key and says what to write.
    pub(crate) fn read(mut self) -> Result<Policy, String> {
        let kind = std::mem::take(&mut self.kind);
        let scope = self.scope()?;
        let action = match kind.as_str() {
            "bleach" => Action::Bleach { dscp: self.dscp()? },
            "clear-precedence" => Action::ClearPrecedence,
            "clear-some-precedence" => Action::ClearSomePrecedence,
            "remark-precedence" => {
                let precedence = needed(self.precedence.take(), "precedence")?;
                if !(1..=7).contains(&precedence) {
                    return Err(format!("precedence = {precedence} is not 1 to 7 (0 would be clear-precedence)"));
                }
                Action::RemarkPrecedence { precedence }
            }
            "bleach-low" => Action::BleachLow,
            "bleach-some-low" => Action::BleachSomeLow,
            "remark" => Action::Remark { dscp: self.dscp()?, to: code_point("to", &needed(self.to.take(), "to")?)? },
            "unstable" => {
                let [first, second] = needed(self.between.take(), "between")?;
                let to = [code_point("between", &first)?, code_point("between", &second)?];
                if to[0] == to[1] {
                    return Err("between names one mark twice: give two different ones, or use remark".to_owned());
                }
                Action::Unstable { dscp: self.dscp()?, to, share: share(self.share.take().unwrap_or(0.5))? }
            }
            "ecn-bleach" => Action::EcnBleach,
            "ecn-ect1-to-ect0" => Action::EcnEct1ToEct0,
            "ecn-ce" => Action::EcnCe,
            "ecn-ce-strip" => Action::EcnCeStrip,
            "ecn-drop-ect" => Action::EcnDropEct,
            "drop" => Action::Drop { dscp: self.dscp()?, share: share(needed(self.share.take(), "share")?)? },
            "police" => Action::Police { dscp: self.dscp()?, rate: self.rate()? },
            "shape" => Action::Shape {
                dscp: self.dscp()?,
                bits_per_second: positive(needed(self.bits_per_second.take(), "bits_per_second")?, "bits_per_second")?,
                burst_bytes: positive(needed(self.burst_bytes.take(), "burst_bytes")?, "burst_bytes")?,
                queue_bytes: positive(needed(self.queue_bytes.take(), "queue_bytes")?, "queue_bytes")?,
            },
            "prioritise" => self.bottleneck(None)?,
            "weigh" => {
                let weight = needed(self.weight.take(), "weight")?;
                if !(2..=20).contains(&weight) {
                    return Err(format!(
                        "weight = {weight} is not 2 to 20 (bits of these marks for each bit of the rest)"
                    ));
                }
                self.bottleneck(Some(weight))?
            }
            "nat" => {
                if scope != Scope::default() {
                    return Err("nat takes no other key: it masquerades all IPv4 towards the server".to_owned());
                }
                Action::Nat
            }
            "silent" => {
                if scope.protocol.is_some() || !scope.ports.is_empty() {
                    return Err("silent takes no protocol and no ports: remove them".to_owned());
                }
                Action::Silent
            }
            "no-icmp-pass" => {
                if scope.protocol.is_some() || !scope.ports.is_empty() {
                    return Err("no-icmp-pass takes no protocol and no ports: remove them".to_owned());
                }
                Action::NoIcmpPass
            }
            _ => return Err(format!("kind = \"{kind}\" is not known: use one of {KINDS}")),
        };
        match self.unused() {
            Some(key) => Err(format!("{kind} takes no {key}: remove it")),
            None => Ok(Policy { action, scope }),
        }
    }

    fn bottleneck(&mut self, weight: Option<u32>) -> Result<Action, String> {
        if self.dscp.is_none() {
            return Err("dscp is missing: name the marks that are told from the rest".to_owned());
        }
        Ok(Action::Share {
            dscp: self.dscp()?,
            bits_per_second: positive(needed(self.bits_per_second.take(), "bits_per_second")?, "bits_per_second")?,
            queue_bytes: positive(needed(self.queue_bytes.take(), "queue_bytes")?, "queue_bytes")?,
            weight,
        })
    }

    fn scope(&mut self) -> Result<Scope, String> {
        let protocol = self.protocol.map(Protocol::from);
        if protocol == Some(Protocol::Icmp) && !self.ports.is_empty() {
            return Err("ports with protocol = \"icmp\": ICMP has none, remove one of the two".to_owned());
        }
        Ok(Scope {
            direction: self.direction.only(),
            family: self.family.only(),
            protocol,
            ports: std::mem::take(&mut self.ports).iter().map(port_range).collect::<Result<_, _>>()?,
        })
    }

    fn dscp(&mut self) -> Result<DscpSet, String> {
        match self.dscp.take() {
            None => Ok(DscpSet::ALL),
            Some(list) if list.is_empty() => {
                Err("dscp = [] matches nothing: list code points, or leave dscp out for all".to_owned())
            }
            Some(list) => list.iter().map(|text| code_point("dscp", text)).collect(),
        }
    }

    fn rate(&mut self) -> Result<Rate, String> {
        match (self.packets_per_second.take(), self.bytes_per_second.take()) {
            (Some(per_second), None) => Ok(Rate::Packets {
                per_second: positive(per_second, "packets_per_second")?,
                burst: positive(needed(self.burst_packets.take(), "burst_packets")?, "burst_packets")?,
            }),
            (None, Some(per_second)) => Ok(Rate::Bytes {
                per_second: positive(per_second, "bytes_per_second")?,
                burst: positive(needed(self.burst_bytes.take(), "burst_bytes")?, "burst_bytes")?,
            }),
            _ => Err("give packets_per_second with burst_packets, or bytes_per_second with burst_bytes".to_owned()),
        }
    }

    /// A key the kind has not taken.
    fn unused(&self) -> Option<&'static str> {
        [
            ("dscp", self.dscp.is_some()),
            ("precedence", self.precedence.is_some()),
            ("to", self.to.is_some()),
            ("between", self.between.is_some()),
            ("share", self.share.is_some()),
            ("packets_per_second", self.packets_per_second.is_some()),
            ("burst_packets", self.burst_packets.is_some()),
            ("bytes_per_second", self.bytes_per_second.is_some()),
            ("burst_bytes", self.burst_bytes.is_some()),
            ("bits_per_second", self.bits_per_second.is_some()),
            ("queue_bytes", self.queue_bytes.is_some()),
            ("weight", self.weight.is_some()),
        ]
        .into_iter()
        .find_map(|(key, given)| given.then_some(key))
    }
}

fn needed<T>(value: Option<T>, key: &str) -> Result<T, String> {
    value.ok_or_else(|| format!("{key} is missing: add it"))
}

fn positive(value: u64, key: &str) -> Result<u64, String> {
    if value > 0 { Ok(value) } else { Err(format!("{key} = 0: give a number above 0")) }
}

fn share(share: f64) -> Result<f64, String> {
    if share > 0.0 && share <= 1.0 {
        Ok(share)
    } else {
        Err(format!("share = {share} is not above 0 and at most 1 (0.02 is two per cent)"))
    }
}

fn code_point(key: &str, text: &NumberOrText) -> Result<Dscp, String> {
    text.to_string().parse().map_err(|error| format!("{key}: '{text}': {error}"))
}

fn port_range(text: &NumberOrText) -> Result<(u16, u16), String> {
    let problem = || format!("ports: '{text}' is neither a port (8620) nor a range (\"50000-50019\")");
    let text = text.to_string();
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    let range: (u16, u16) = (first.trim().parse().map_err(|_| problem())?, last.trim().parse().map_err(|_| problem())?);
    if range.0 == 0 || range.0 > range.1 { Err(problem()) } else { Ok(range) }
}
