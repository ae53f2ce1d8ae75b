//! What was dropped, by reason. Counted with relaxed atomics in the packet paths, stored by the ingest thread.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Packets and requests that were dropped, by reason.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: AtomicU64,)* }

        impl Counters {
            /// Name and count of each since the last call; the count starts again at 0.
            pub fn take(&self) -> Vec<(String, u64)> {
                let mut taken = Vec::new();
                $(
                    let count = self.$name.swap(0, Ordering::Relaxed);
                    if count > 0 {
                        taken.push((stringify!($name).to_owned(), count));
                    }
                )*
                taken
            }
        }
    };
}

counters! {
    /// Failed authentication.
    forged,
    /// Sequence number too old for the replay window.
    replayed,
    /// A second copy within the window; recorded as a duplicate, never answered.
    duplicated,
    /// Too short to be a probe.
    truncated,
    /// Longer than any probe.
    oversized,
    /// Well-formed, but of no live session.
    unknown_session,
    /// Authentic, but faster than the session may be.
    rate_limited,
    /// An answer the kernel refused to send.
    answer_failed,
    /// TCP connections beyond the limit.
    connections_refused,
    /// TCP connections that sent nothing of ours.
    connections_foreign,
    /// TCP transfers that were carried out, those that broke off, and those beyond what a session or the server may have at once.
    transfers,
    transfers_broken,
    transfers_refused,
    /// Stream bytes of transfers, both ways.
    transfer_bytes,
    /// Frames the capture ring had no room for.
    capture_dropped,
    /// Halves whose time is more than ten years from the server's.
    implausible,
    /// Halves that could not be joined: the other side never told of them.
    unmatched,
    /// Probes sent while this server could not have seen them.
    unobserved,
    /// Packets that came after their sequence number was settled.
    late,
    /// Observations dropped because the store could not take them (disk full).
    overflowed,
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
