//! Whether somebody on the way answers TCP in the server's place: a handshake that is over sooner than any packet has been to the
//! server and back, on a connection whose own data takes longer.
//!
//! Both signs are needed. A network may delay all UDP, and then every handshake is sooner; or what it finds in a connection, and then
//! the data is late. Neither shortens the one and lengthens the other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// So many answers tell how near the server can be.
const ENOUGH: u64 = 30;
/// What busy hosts may add: the kernel ends a handshake, but a program has to answer everything else.
const MARGIN: Duration = Duration::from_millis(5);

/// The shortest round trip of authentic UDP answers of one family.
#[derive(Debug)]
pub(crate) struct Nearest {
    shortest_ns: AtomicU64,
    answers: AtomicU64,
}

impl Default for Nearest {
    fn default() -> Nearest {
        Nearest { shortest_ns: AtomicU64::new(u64::MAX), answers: AtomicU64::new(0) }
    }
}

impl Nearest {
    /// What is not positive was spoilt by a step of the clock.
    pub(crate) fn answered(&self, round_trip_ns: i64) {
        if let Ok(ns @ 1..) = u64::try_from(round_trip_ns) {
            self.shortest_ns.fetch_min(ns, Ordering::Relaxed);
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// `handshake`: the kernel's own; `data`: from the request's departure to the answer's arrival, on the same connection.
    pub(crate) fn somebody_nearer(&self, handshake: Duration, data: Duration) -> bool {
        let shortest = Duration::from_nanos(self.shortest_ns.load(Ordering::Relaxed));
        let sooner = |than: Duration| handshake * 2 + MARGIN < than;
        self.answers.load(Ordering::Relaxed) >= ENOUGH && sooner(shortest) && sooner(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_both_signs_together_convict() {
        let ms = Duration::from_millis;
        let nearest = Nearest::default();
        assert!(!nearest.somebody_nearer(ms(0), ms(20)), "nothing is known of the server yet");
        nearest.answered(-5);
        for _ in 0..ENOUGH {
            nearest.answered(20_000_000);
        }
        assert!(nearest.somebody_nearer(ms(0), ms(20)));
        assert!(nearest.somebody_nearer(ms(6), ms(30)), "a proxy halfway");
        assert!(!nearest.somebody_nearer(ms(20), ms(20)), "the server itself");
        assert!(!nearest.somebody_nearer(ms(20), ms(200)), "late data alone: it queued, or was delayed for what it is");
        assert!(!nearest.somebody_nearer(ms(5), ms(5)), "UDP alone is late");
        assert!(!nearest.somebody_nearer(ms(9), ms(20)), "within the margin");
    }
}
