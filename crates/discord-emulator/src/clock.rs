//! The emulated Discord's clock: the system's, shifted by an offset that tests may set; and the ids and times made from it.
//! Stamps of exchanges are not shifted (`stamps`): they are the truth about this machine.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

use crate::id::{DISCORD_EPOCH_MS, Snowflake};

/// Nanoseconds since 1970 on the system's clock.
pub fn system_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

#[derive(Debug, Default)]
pub struct Clock {
    offset_ms: i64,
    /// Counts settings, so that a clock set back gives no id twice.
    generation: u64,
    last_ms: i64,
    within: u64,
}

impl Clock {
    /// Milliseconds since 1970 as this Discord sees them.
    pub fn now_ms(&self) -> i64 {
        (system_ns() / 1_000_000) as i64 + self.offset_ms
    }

    pub fn offset_ms(&self) -> i64 {
        self.offset_ms
    }

    /// Moves message times and ids by this much from the system's clock.
    pub fn set_offset_ms(&mut self, offset_ms: i64) {
        self.offset_ms = offset_ms;
        self.generation = (self.generation + 1) & 0x3ff;
        self.last_ms = 0;
        self.within = 0;
    }

    /// Larger than every id since the clock was last set.
    pub fn snowflake(&mut self) -> Snowflake {
        let now = self.now_ms().max(DISCORD_EPOCH_MS);
        if now > self.last_ms {
            self.last_ms = now;
            self.within = 0;
        } else {
            self.within += 1;
            if self.within > 0xfff {
                self.last_ms += 1;
                self.within = 0;
            }
        }
        let ms = (self.last_ms - DISCORD_EPOCH_MS) as u64;
        Snowflake(ms << 22 | self.generation << 12 | self.within)
    }
}

/// `2026-11-25T22:27:28.123000+00:00`, as Discord writes times.
pub fn iso8601(unix_ms: i64) -> String {
    let nanos = i128::from(unix_ms) * 1_000_000;
    let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, clock) = (at.date(), at.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}000+00:00",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second(),
        clock.millisecond()
    )
}

/// RFC 9110, section 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn http_date(unix_ms: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(unix_ms.div_euclid(1000)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    // Years of four digits only, which those of a clock here are.
    at.format(&time::format_description::well_known::Rfc2822).unwrap_or_default().replace("+0000", "GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_documented_snowflake_gives_its_time() {
        // Discord's reference, "Snowflakes": 175928847299117063 is 2016-04-30 11:18:25.796 UTC.
        assert_eq!(iso8601(Snowflake(175_928_847_299_117_063).unix_ms()), "2016-04-30T11:18:25.796000+00:00");
    }

    #[test]
    fn a_date_is_written_as_the_rfc_shows() {
        assert_eq!(http_date(784_111_777_999), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn ids_ascend_within_a_millisecond_and_are_new_after_the_clock_is_set_back() {
        let mut clock = Clock::default();
        let first: Vec<Snowflake> = (0..10_000).map(|_| clock.snowflake()).collect();
        assert!(first.windows(2).all(|pair| pair[0] < pair[1]));
        clock.set_offset_ms(0);
        let again: std::collections::HashSet<Snowflake> = (0..10_000).map(|_| clock.snowflake()).collect();
        assert_eq!(again.len(), 10_000);
        assert!(first.iter().all(|id| !again.contains(id)));
    }
}
