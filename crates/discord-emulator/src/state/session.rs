//! Gateway sessions: what outlives a connection, so that RESUME can replay it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::event::LONGEST_DELAY;
use super::{Refusal, World};
use crate::clock::system_ns;
use crate::config::Limits;
use crate::faults::Effect;
use crate::id::Snowflake;

/// One dispatch as it goes on the wire.
#[derive(Clone, Debug)]
pub struct Frame {
    pub seq: u64,
    pub name: &'static str,
    pub text: Arc<str>,
    /// Not sent before this; never before its predecessor.
    pub due: Instant,
    /// When it happened here, system clock.
    pub published_ns: u64,
    /// What it is about: `id` of its data.
    pub subject: Option<Snowflake>,
}

/// A dispatch before it has a number.
#[derive(Clone, Copy, Debug)]
pub struct Dispatch<'a> {
    pub name: &'static str,
    /// JSON text.
    pub data: &'a str,
    pub subject: Option<Snowflake>,
}

/// What a running connection is told to do at once.
#[derive(Clone, Debug)]
pub enum Order {
    Fault(Effect),
    /// Another connection has taken the session.
    Superseded,
    /// The session is over; close with this code.
    Close(u16, &'static str),
}

/// A connection that serves a session.
#[derive(Clone, Debug)]
pub struct Attached {
    pub connection: u64,
    pub orders: mpsc::Sender<Order>,
}

pub struct Session {
    pub id: String,
    pub user: Snowflake,
    pub intents: u64,
    /// Number of this shard and of all.
    pub shard: (u64, u64),
    pub seq: u64,
    /// Replayable dispatches, oldest first; bounded in count and bytes.
    buffer: VecDeque<Frame>,
    bytes: usize,
    pub wake: Arc<Notify>,
    pub attached: Option<Attached>,
    pub detached_at: Option<Instant>,
}

/// Why a session cannot be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    Unknown,
    /// The client says it saw more than was sent.
    InvalidSeq,
    /// What it missed is no longer kept.
    Forgotten,
}

impl Session {
    pub fn new(id: String, user: Snowflake, intents: u64, shard: (u64, u64), attached: Attached) -> Session {
        Session {
            id,
            user,
            intents,
            shard,
            seq: 0,
            buffer: VecDeque::new(),
            bytes: 0,
            wake: Arc::new(Notify::new()),
            attached: Some(attached),
            detached_at: None,
        }
    }

    /// Discord's sharding rule: (guild id >> 22) modulo the number of shards.
    pub fn has_guild(&self, guild: Snowflake) -> bool {
        (guild.0 >> 22) % self.shard.1.max(1) == self.shard.0
    }

    /// Direct messages go to shard 0.
    pub fn has_direct(&self) -> bool {
        self.shard.0 == 0
    }

    pub fn append(&mut self, dispatch: Dispatch<'_>, delay: Duration, limits: &Limits) {
        let Dispatch { name, data, subject } = dispatch;
        self.seq += 1;
        let text: Arc<str> = format!("{{\"t\":\"{name}\",\"s\":{},\"op\":0,\"d\":{data}}}", self.seq).into();
        let now = Instant::now();
        let earliest = self.buffer.back().map_or(now, |frame| frame.due);
        let due = (now + delay.min(LONGEST_DELAY)).max(earliest);
        self.bytes += text.len();
        self.buffer.push_back(Frame { seq: self.seq, name, text, due, published_ns: system_ns(), subject });
        while self.buffer.len() > limits.replay_frames || self.bytes > limits.replay_bytes {
            let Some(oldest) = self.buffer.pop_front() else { break };
            self.bytes -= oldest.text.len();
        }
        self.wake.notify_one();
    }

    /// Hands a fault to the connection; a full queue means it is already being dealt with.
    pub fn order(&self, effect: Effect) {
        if let Some(attached) = &self.attached {
            let _ = attached.orders.try_send(Order::Fault(effect));
        }
    }

    /// Frames after `seq`, at most `limit`; an error when the next one is no longer kept.
    pub fn after(&self, seq: u64, limit: usize) -> Result<Vec<Frame>, SessionEnd> {
        if seq > self.seq {
            return Err(SessionEnd::InvalidSeq);
        }
        if seq == self.seq {
            return Ok(Vec::new());
        }
        let first = self.buffer.front().map_or(self.seq + 1, |frame| frame.seq);
        if seq + 1 < first {
            return Err(SessionEnd::Forgotten);
        }
        Ok(self.buffer.iter().skip((seq + 1 - first) as usize).take(limit).cloned().collect())
    }
}

impl World {
    pub fn add_session(&mut self, session: Session) -> Result<(), Refusal> {
        if self.sessions.len() >= self.limits.sessions {
            // The one that was left longest ago makes room.
            let stale = self
                .sessions
                .values()
                .filter_map(|session| Some((session.detached_at?, session.id.clone())))
                .min_by_key(|(at, _)| *at);
            let Some((_, stale)) = stale else { return Err(Refusal::INTERNAL) };
            self.end_session(&stale);
        }
        self.sessions.insert(session.id.clone(), session);
        Ok(())
    }

    /// Puts a connection behind an existing session. The one that had it is told.
    pub fn resume(&mut self, id: &str, user: Snowflake, seq: u64, attached: Attached) -> Result<(), SessionEnd> {
        self.forget_stale_sessions();
        let session = self.sessions.get_mut(id).filter(|session| session.user == user).ok_or(SessionEnd::Unknown)?;
        session.after(seq, 1)?;
        if let Some(old) = session.attached.replace(attached) {
            let _ = old.orders.try_send(Order::Superseded);
        }
        session.detached_at = None;
        Ok(())
    }

    /// The connection is gone; `keep`: the session can be resumed for a while.
    pub fn detach(&mut self, id: &str, connection: u64, keep: bool) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        if session.attached.as_ref().is_none_or(|attached| attached.connection != connection) {
            return;
        }
        session.attached = None;
        session.detached_at = Some(Instant::now());
        if !keep {
            self.end_session(id);
        }
        self.forget_stale_sessions();
    }

    fn forget_stale_sessions(&mut self) {
        let kept = self.resume_window;
        let stale: Vec<String> = self
            .sessions
            .values()
            .filter(|session| session.detached_at.is_some_and(|at| at.elapsed() > kept))
            .map(|session| session.id.clone())
            .collect();
        for id in stale {
            self.end_session(&id);
        }
    }

    /// Ends a session: it cannot be resumed, and its user leaves voice where no other session holds it.
    pub fn end_session(&mut self, id: &str) {
        let Some(session) = self.sessions.remove(id) else { return };
        if let Some(attached) = session.attached {
            let _ = attached.orders.try_send(Order::Close(4009, "Session timed out."));
        }
        let held: Vec<Snowflake> = self
            .guilds
            .values()
            .filter(|guild| guild.voice_states.get(&session.user).is_some_and(|state| state.gateway_session == id))
            .map(|guild| guild.id)
            .collect();
        for guild in held {
            self.leave_voice(guild, session.user);
        }
    }
}
