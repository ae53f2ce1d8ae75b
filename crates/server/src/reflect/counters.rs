//! What a reflector answered and dropped, by reason.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counted while packets are served; read with [`ReflectCounters::read`].
        #[derive(Debug, Default)]
        pub struct ReflectCounters { $($(#[$doc])* pub(super) $name: AtomicU64,)* }

        /// A reading of [`ReflectCounters`].
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct ReflectCounts { $($(#[$doc])* pub $name: u64,)* }

        impl ReflectCounters {
            pub fn read(&self) -> ReflectCounts {
                ReflectCounts { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counts! {
    /// Every datagram that came.
    received,
    /// Replies handed to the kernel.
    answered,
    /// Shorter than a base packet: an answer would be longer than the question.
    too_short,
    /// Longer than a packet of common links.
    too_long,
    /// The base packet's HMAC is wrong or missing.
    unauthenticated,
    /// Replies that say that the integrity check of the request's TLVs failed.
    tlvs_not_authentic,
    /// More of one source than it may send.
    rate_limited,
    /// From a port that answers whatever it is sent: another reflector, echo, chargen.
    from_answering_port,
    /// The DSCP asked for is not allowed; answered, and said so.
    dscp_refused,
    /// Answered as if stateless: no room for another session.
    sessions_full,
    /// Without a kernel receive stamp: T2 is a user-space reading.
    received_without_stamp,
    /// Replies the kernel refused.
    send_failures,
    /// Dropped by the kernel because this program was too slow.
    receive_dropped,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
