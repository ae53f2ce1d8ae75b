//! What a stateful reflector remembers of each sender, bounded in number and in time. Pure: time is an argument.

use std::collections::HashMap;
use std::net::IpAddr;

use wire::stamp::FollowUp;

/// REFWAIT of TWAMP (RFC 5357, section 4.2): a session without packets for so long is over.
const FORGET_AFTER_NS: u64 = 900_000_000_000;
/// A sender that begins anew at 0 after a silence is a new session from the same port.
const RESTART_AFTER_NS: u64 = 1_000_000_000;

/// Who sends: both ends' addresses and the STAMP session identifier (RFC 8972, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SessionKey {
    pub from: IpAddr,
    pub from_port: u16,
    pub to: Option<IpAddr>,
    pub ssid: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Session {
    /// Requests received, this one included.
    pub received: u32,
    /// Replies the kernel took.
    pub transmitted: u32,
    /// Of the next reply.
    pub sequence: u32,
    /// The last reply, once its kernel transmit stamp is known.
    pub left: Option<FollowUp>,
    last_ns: u64,
}

#[derive(Debug)]
pub(super) struct Sessions {
    most: usize,
    sessions: HashMap<SessionKey, Session>,
    swept_ns: u64,
}

impl Sessions {
    pub(super) fn new(most: usize, now_ns: u64) -> Sessions {
        Sessions { most, sessions: HashMap::new(), swept_ns: now_ns }
    }

    /// Counts a request in. `None`: there is no room for a new session.
    pub(super) fn receive(&mut self, key: SessionKey, sender_sequence: u32, now_ns: u64) -> Option<&mut Session> {
        if !self.sessions.contains_key(&key) && self.sessions.len() >= self.most {
            // A sweep looks at every session, so a stranger may cause one a second.
            if now_ns.saturating_sub(self.swept_ns) >= RESTART_AFTER_NS {
                self.swept_ns = now_ns;
                self.sessions.retain(|_, session| now_ns.saturating_sub(session.last_ns) < FORGET_AFTER_NS);
            }
            if self.sessions.len() >= self.most {
                return None;
            }
        }
        let session = self.sessions.entry(key).or_default();
        let idle_ns = now_ns.saturating_sub(session.last_ns);
        if idle_ns >= FORGET_AFTER_NS || (sender_sequence == 0 && idle_ns >= RESTART_AFTER_NS) {
            *session = Session::default();
        }
        session.last_ns = now_ns;
        session.received = session.received.wrapping_add(1);
        Some(session)
    }

    pub(super) fn get_mut(&mut self, key: &SessionKey) -> Option<&mut Session> {
        self.sessions.get_mut(key)
    }
}

impl Session {
    /// The kernel took the reply.
    pub(super) fn transmit(&mut self) {
        self.sequence = self.sequence.wrapping_add(1);
        self.transmitted = self.transmitted.wrapping_add(1);
    }

    /// The kernel says when a reply left. Only the last one's time is asked for by a later request.
    pub(super) fn stamped(&mut self, left: FollowUp) {
        if left.sequence == self.sequence.wrapping_sub(1) {
            self.left = Some(left);
        }
    }

    /// What a Follow-Up Telemetry TLV may say now: of the last reply, or nothing.
    pub(super) fn follow_up(&self) -> Option<FollowUp> {
        self.left.filter(|left| left.sequence == self.sequence.wrapping_sub(1))
    }
}
