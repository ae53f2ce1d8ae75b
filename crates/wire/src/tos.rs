//! The ToS / Traffic Class byte and its two halves, as distinct types so that a DSCP is never mistaken for a ToS byte.

use core::fmt;
use core::str::FromStr;

/// A Differentiated Services Code Point, 0..=63 (RFC 2474).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "u8", into = "u8"))]
pub struct Dscp(u8);

/// The value does not fit into six bits, or the name is not a registered code point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidDscp;

impl fmt::Display for InvalidDscp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a DSCP is a number from 0 to 63 or a name such as EF, AF41, CS1, LE")
    }
}

impl core::error::Error for InvalidDscp {}

/// Registered names, from the IANA DSCP registry.
const NAMES: [(u8, &str); 24] = [
    (0, "CS0"),
    (1, "LE"),
    (8, "CS1"),
    (10, "AF11"),
    (12, "AF12"),
    (14, "AF13"),
    (16, "CS2"),
    (18, "AF21"),
    (20, "AF22"),
    (22, "AF23"),
    (24, "CS3"),
    (26, "AF31"),
    (28, "AF32"),
    (30, "AF33"),
    (32, "CS4"),
    (34, "AF41"),
    (36, "AF42"),
    (38, "AF43"),
    (40, "CS5"),
    (44, "VA"),
    (45, "NQB"),
    (46, "EF"),
    (48, "CS6"),
    (56, "CS7"),
];

impl Dscp {
    /// Default forwarding, also known as best effort.
    pub const BEST_EFFORT: Dscp = Dscp(0);
    /// Lower effort (RFC 8622).
    pub const LE: Dscp = Dscp(1);
    /// Expedited forwarding (RFC 3246), what WebRTC clients ask for audio (RFC 8837).
    pub const EF: Dscp = Dscp(46);

    /// `None` above 63.
    pub const fn new(value: u8) -> Option<Dscp> {
        if value < 64 { Some(Dscp(value)) } else { None }
    }

    /// The code point, 0..=63.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The registered name, if the code point has one.
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(value, _)| *value == self.0).map(|(_, name)| *name)
    }

    /// All 64 code points in order.
    pub fn all() -> impl Iterator<Item = Dscp> {
        (0..64).map(Dscp)
    }
}

impl fmt::Display for Dscp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl FromStr for Dscp {
    type Err = InvalidDscp;

    fn from_str(text: &str) -> Result<Dscp, InvalidDscp> {
        if let Ok(value) = text.parse::<u8>() {
            return Dscp::new(value).ok_or(InvalidDscp);
        }
        NAMES
            .iter()
            .chain([(0u8, "BE"), (0, "DF")].iter())
            .find(|(_, name)| name.eq_ignore_ascii_case(text))
            .map(|(value, _)| Dscp(*value))
            .ok_or(InvalidDscp)
    }
}

impl TryFrom<u8> for Dscp {
    type Error = InvalidDscp;
    fn try_from(value: u8) -> Result<Dscp, InvalidDscp> {
        Dscp::new(value).ok_or(InvalidDscp)
    }
}

impl From<Dscp> for u8 {
    fn from(value: Dscp) -> u8 {
        value.0
    }
}

/// The two bits of Explicit Congestion Notification (RFC 3168, section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "u8", into = "u8"))]
#[repr(u8)]
pub enum Ecn {
    /// Not ECN-capable transport, `00`.
    #[default]
    NotEct = 0,
    /// ECN-capable, `01` (L4S, RFC 9331).
    Ect1 = 1,
    /// ECN-capable, `10`.
    Ect0 = 2,
    /// Congestion experienced, `11`.
    Ce = 3,
}

impl Ecn {
    pub const ALL: [Ecn; 4] = [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ce];

    /// Uses the two low bits and ignores the rest.
    pub const fn from_bits(bits: u8) -> Ecn {
        match bits & 0b11 {
            0 => Ecn::NotEct,
            1 => Ecn::Ect1,
            2 => Ecn::Ect0,
            _ => Ecn::Ce,
        }
    }

    pub const fn bits(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Ecn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Ecn::NotEct => "Not-ECT",
            Ecn::Ect1 => "ECT(1)",
            Ecn::Ect0 => "ECT(0)",
            Ecn::Ce => "CE",
        })
    }
}

/// The value is not 0..=3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidEcn;

impl fmt::Display for InvalidEcn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an ECN code point is a number from 0 to 3")
    }
}

impl core::error::Error for InvalidEcn {}

impl TryFrom<u8> for Ecn {
    type Error = InvalidEcn;
    fn try_from(value: u8) -> Result<Ecn, InvalidEcn> {
        if value < 4 { Ok(Ecn::from_bits(value)) } else { Err(InvalidEcn) }
    }
}

impl From<Ecn> for u8 {
    fn from(value: Ecn) -> u8 {
        value.bits()
    }
}

/// The whole byte: IPv4's former Type of Service, IPv6's Traffic Class. DSCP in the upper six bits, ECN in the lower two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Tos(u8);

impl Tos {
    pub const fn new(dscp: Dscp, ecn: Ecn) -> Tos {
        Tos(dscp.0 << 2 | ecn as u8)
    }

    pub const fn from_byte(byte: u8) -> Tos {
        Tos(byte)
    }

    pub const fn byte(self) -> u8 {
        self.0
    }

    pub const fn dscp(self) -> Dscp {
        Dscp(self.0 >> 2)
    }

    pub const fn ecn(self) -> Ecn {
        Ecn::from_bits(self.0)
    }
}

impl fmt::Display for Tos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.dscp(), self.ecn())
    }
}

#[cfg(test)]
mod tests {
    extern crate alloc;
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn ef_with_ect0_is_the_byte_of_rfc_3246_and_rfc_3168() {
        let tos = Tos::new(Dscp::EF, Ecn::Ect0);
        assert_eq!(tos.byte(), 0xba);
        assert_eq!((tos.dscp().get(), tos.ecn()), (46, Ecn::Ect0));
    }

    #[test]
    fn names_and_numbers_parse_and_nothing_else() {
        assert_eq!("ef".parse(), Ok(Dscp::EF));
        assert_eq!("46".parse(), Ok(Dscp::EF));
        assert_eq!("AF41".parse::<Dscp>().unwrap().get(), 34);
        assert_eq!("64".parse::<Dscp>(), Err(InvalidDscp));
        // A ToS byte where a DSCP belongs is the classic mistake of this field.
        assert_eq!("184".parse::<Dscp>(), Err(InvalidDscp));
        assert_eq!("AF44".parse::<Dscp>(), Err(InvalidDscp));
        assert_eq!(Dscp::EF.to_string(), "EF");
        assert_eq!(Dscp::new(63).unwrap().to_string(), "63");
    }
}
