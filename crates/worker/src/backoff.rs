//! How long to wait before trying again: doubling, bounded, and random, so that workers that lost one server do not come
//! back at once.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }

    pub(crate) fn next(&mut self) -> Duration {
        let mut byte = [128];
        // Without randomness the middle will do.
        let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut byte);
        self.after(byte[0])
    }

    /// Between half and the whole of the doubled time.
    fn after(&mut self, random: u8) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.tries.min(16)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        whole / 2 + whole / 2 * u32::from(random) / 255
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_its_bound_and_starts_anew() {
        let mut backoff = Backoff::default();
        let longest: Vec<u128> = (0..9).map(|_| backoff.after(255).as_millis()).collect();
        assert_eq!(longest, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(backoff.after(0).as_millis(), 15_000);
        backoff.reset();
        assert_eq!(backoff.after(0).as_millis(), 250);
    }
}
