//! STAMP's two timestamp formats and its error estimate (RFC 8762, section 4.2.1; RFC 4656, section 4.1.2; RFC 8186).
//!
//! ```text
//!  0                   1
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |S|Z|   Scale   |   Multiplier  |   error = Multiplier * 2^(Scale - 32) seconds
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

const NS_PER_S: i128 = 1_000_000_000;
/// Seconds from 1900-01-01 to 1970-01-01.
const NTP_TO_UNIX: i128 = 2_208_988_800;

/// The Z bit of an error estimate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimestampFormat {
    /// Z = 0: seconds since 1900 and a 32-bit fraction (RFC 5905, section 6).
    #[default]
    Ntp,
    /// Z = 1: seconds and nanoseconds of IEEE 1588-2008, 32 bits each. PTP counts TAI seconds; implementations (ours
    /// too) put UTC there, and a peer that does not is off by whole seconds, the same in both of its stamps.
    Ptp,
}

/// The 64 bits of a timestamp, to be read in the format that the packet's error estimate names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// `ns` since the Unix epoch, rounded to the nearest step. Both formats count their seconds modulo 2^32.
    pub const fn from_unix_ns(ns: i64, format: TimestampFormat) -> Timestamp {
        let seconds = (ns as i128).div_euclid(NS_PER_S);
        let rest = (ns as i128).rem_euclid(NS_PER_S);
        let (seconds, fraction) = match format {
            // The greatest rest stays below 2^32 when rounded.
            TimestampFormat::Ntp => (seconds + NTP_TO_UNIX, ((rest << 32) + NS_PER_S / 2) / NS_PER_S),
            TimestampFormat::Ptp => (seconds, rest),
        };
        Timestamp((seconds as u32 as u64) << 32 | fraction as u32 as u64)
    }

    /// Nanoseconds since the Unix epoch; `None` for a PTP stamp with a second's worth of nanoseconds or more.
    ///
    /// NTP stamps are taken as of 1968 to 2104: the upper half of the range is before 2036 (RFC 4330, section 3), the
    /// lower half after. PTP stamps are taken as of 1970 to 2106.
    pub const fn to_unix_ns(self, format: TimestampFormat) -> Option<i64> {
        let seconds = (self.0 >> 32) as i128;
        let fraction = self.0 as u32 as i128;
        let ns = match format {
            TimestampFormat::Ntp => {
                let era = if seconds >> 31 == 1 { 0 } else { 1 << 32 };
                (seconds + era - NTP_TO_UNIX) * NS_PER_S + ((fraction * NS_PER_S + (1 << 31)) >> 32)
            }
            TimestampFormat::Ptp if fraction < NS_PER_S => seconds * NS_PER_S + fraction,
            TimestampFormat::Ptp => return None,
        };
        // At most the year 2106, and an i64 reaches 2262.
        Some(ns as i64)
    }
}

/// How far off the clock may be that made a packet's timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorEstimate {
    /// S: the clock is synchronised to UTC by an external source.
    pub synchronized: bool,
    pub format: TimestampFormat,
    /// 0..=63.
    pub scale: u8,
    /// Not zero (RFC 4656: a zero means a corrupt packet), though foreign packets do come with it.
    pub multiplier: u8,
}

impl ErrorEstimate {
    /// The smallest estimate that is not below `bound_ns`; the largest there is beyond 2^39 s.
    pub const fn from_ns(bound_ns: u64, synchronized: bool, format: TimestampFormat) -> ErrorEstimate {
        // In units of 2^-32 s, rounded up at every step.
        let mut units = ((bound_ns as u128) << 32).div_ceil(NS_PER_S as u128);
        let mut scale = 0;
        while units > 255 && scale < 63 {
            units = units.div_ceil(2);
            scale += 1;
        }
        let multiplier = match units {
            0 => 1,
            1..=255 => units as u8,
            _ => 255,
        };
        ErrorEstimate { synchronized, format, scale, multiplier }
    }

    /// A clock about which nothing is known: not synchronised, and an error of 2^39 s.
    pub const fn unknown(format: TimestampFormat) -> ErrorEstimate {
        ErrorEstimate { synchronized: false, format, scale: 63, multiplier: 255 }
    }

    pub const fn from_bits(bits: u16) -> ErrorEstimate {
        ErrorEstimate {
            synchronized: bits & 0x8000 != 0,
            format: if bits & 0x4000 != 0 { TimestampFormat::Ptp } else { TimestampFormat::Ntp },
            scale: (bits >> 8) as u8 & 0x3f,
            multiplier: bits as u8,
        }
    }

    /// A scale above 63 loses its upper bits.
    pub const fn bits(self) -> u16 {
        (self.synchronized as u16) << 15
            | (matches!(self.format, TimestampFormat::Ptp) as u16) << 14
            | ((self.scale & 0x3f) as u16) << 8
            | self.multiplier as u16
    }

    /// Seconds, exactly.
    pub fn seconds(self) -> f64 {
        let power = f64::from_bits((1023 - 32 + u64::from(self.scale & 0x3f)) << 52);
        f64::from(self.multiplier) * power
    }

    /// Nanoseconds, rounded up; at most `u64::MAX`.
    pub const fn ns(self) -> u64 {
        let ns = (((self.multiplier as u128) << (self.scale & 0x3f)) * NS_PER_S as u128).div_ceil(1 << 32);
        if ns > u64::MAX as u128 { u64::MAX } else { ns as u64 }
    }
}
