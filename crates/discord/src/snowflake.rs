//! Discord's ids: 64 bits whose upper 42 are milliseconds since 2015 (Discord's reference, "Snowflakes"). They come as
//! strings; some programs send them as numbers.

use std::fmt;
use std::str::FromStr;

use model::UnixNanos;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The first second of 2015, in milliseconds since the Unix epoch.
const EPOCH_MS: i64 = 1_420_070_400_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Snowflake(pub u64);

impl Snowflake {
    /// When it was made, on Discord's clock; to the millisecond.
    pub fn time(self) -> UnixNanos {
        UnixNanos((EPOCH_MS + (self.0 >> 22) as i64).saturating_mul(1_000_000))
    }
}

impl fmt::Display for Snowflake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Snowflake {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Snowflake, std::num::ParseIntError> {
        text.parse().map(Snowflake)
    }
}

impl Serialize for Snowflake {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Snowflake {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Snowflake, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Snowflake;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a snowflake")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Snowflake, E> {
                text.parse().map_err(|_| E::custom("a snowflake is a decimal number of 64 bits"))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Snowflake, E> {
                Ok(Snowflake(number))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_example_has_its_time() {
        // Discord's reference: 175928847299117063 was made at 2016-04-30 11:18:25.796 UTC.
        assert_eq!(Snowflake(175928847299117063).time().0, 1_462_015_105_796_000_000);
    }

    #[test]
    fn strings_and_numbers_are_read_and_strings_written() {
        assert_eq!(serde_json::from_str::<Snowflake>("\"7\"").unwrap(), Snowflake(7));
        assert_eq!(serde_json::from_str::<Snowflake>("7").unwrap(), Snowflake(7));
        assert!(serde_json::from_str::<Snowflake>("-1").is_err());
        assert_eq!(serde_json::to_string(&Snowflake(7)).unwrap(), "\"7\"");
    }
}
