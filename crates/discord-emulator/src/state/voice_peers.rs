//! Clients of the voice servers: their connections, what they tell each other, resuming.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::World;
use crate::faults::Effect;
use crate::id::Snowflake;

/// Messages kept for a resume.
const KEPT: usize = 64;
/// A connection that broke can be resumed this long.
const RESUMABLE: Duration = Duration::from_secs(60);

/// What a running voice connection is told.
#[derive(Clone, Debug)]
pub enum VoiceOrder {
    Send(String),
    Close(u16, &'static str),
    Fault(Effect),
}

/// A client of the voice gateway.
#[derive(Clone, Debug)]
pub struct VoiceConnection {
    pub ssrc: u32,
    pub guild: Snowflake,
    pub user: Snowflake,
    pub region: String,
    /// Where its datagrams come from, once it discovered its address.
    pub peer: Option<SocketAddr>,
    /// Its datagrams that were neither discovery nor keep-alive: RTP.
    pub datagrams: u64,
    /// Bytes of the MLS key package it sent (DAVE op 26).
    pub key_package: Option<usize>,
    connection: u64,
    orders: mpsc::Sender<VoiceOrder>,
    detached_at: Option<Instant>,
    seq: u16,
    sent: VecDeque<(u16, String)>,
}

impl VoiceConnection {
    /// Sends a message with a sequence number, and keeps it for a resume.
    fn tell(&mut self, op: u64, data: &Value) {
        self.seq = self.seq.wrapping_add(1);
        let text = json!({ "op": op, "d": data, "seq": self.seq }).to_string();
        self.sent.push_back((self.seq, text.clone()));
        if self.sent.len() > KEPT {
            self.sent.pop_front();
        }
        if self.detached_at.is_none() {
            let _ = self.orders.try_send(VoiceOrder::Send(text));
        }
    }
}

impl World {
    /// A new RTP source on a voice server. `None`: too many. An earlier connection of the same seat ends.
    pub fn add_voice_connection(
        &mut self,
        guild: Snowflake,
        user: Snowflake,
        region: &str,
        connection: u64,
        orders: mpsc::Sender<VoiceOrder>,
    ) -> Option<u32> {
        self.forget_voice();
        self.close_voice(guild, user, 4006, "Session no longer valid");
        if self.voice_connections.len() >= self.limits.voice_connections {
            return None;
        }
        let ssrc = self.next_ssrc;
        self.next_ssrc = self.next_ssrc.wrapping_add(1).max(1000);
        let client = VoiceConnection {
            ssrc,
            guild,
            user,
            region: region.to_owned(),
            peer: None,
            datagrams: 0,
            key_package: None,
            connection,
            orders,
            detached_at: None,
            seq: 0,
            sent: VecDeque::new(),
        };
        self.voice_connections.insert(ssrc, client);
        Some(ssrc)
    }

    fn forget_voice(&mut self) {
        self.voice_connections.retain(|_, client| client.detached_at.is_none_or(|at| at.elapsed() <= RESUMABLE));
    }

    /// Ends a seat's connections: 4014 when its user left voice.
    pub fn close_voice(&mut self, guild: Snowflake, user: Snowflake, code: u16, reason: &'static str) {
        self.voice_connections.retain(|_, client| {
            let ended = client.guild == guild && client.user == user;
            if ended {
                let _ = client.orders.try_send(VoiceOrder::Close(code, reason));
            }
            !ended
        });
    }

    /// The connection is gone; `keep`: it can be resumed for a while.
    pub fn detach_voice(&mut self, ssrc: u32, connection: u64, keep: bool) {
        let known = self.voice_connections.get_mut(&ssrc);
        let Some(client) = known.filter(|client| client.connection == connection) else { return };
        client.detached_at = Some(Instant::now());
        if keep {
            return;
        }
        let gone = json!({ "user_id": client.user });
        self.tell_voice_peers(ssrc, 13, &gone);
        self.voice_connections.remove(&ssrc);
    }

    /// Puts a new connection behind a seat: its source, user, region, and the messages after `seen`.
    pub fn resume_voice(
        &mut self,
        guild: Snowflake,
        session_id: &str,
        token: &str,
        connection: u64,
        orders: mpsc::Sender<VoiceOrder>,
        seen: Option<u64>,
    ) -> Option<(u32, Snowflake, String, Vec<String>)> {
        self.forget_voice();
        let states = &self.guilds.get(&guild)?.voice_states;
        let user = states.values().find(|state| state.session_id == session_id && state.token == token)?.user;
        let mut clients = self.voice_connections.values_mut();
        let client = clients.find(|client| client.guild == guild && client.user == user)?;
        if client.detached_at.take().is_none() {
            let _ = client.orders.try_send(VoiceOrder::Close(4006, "Session no longer valid"));
        }
        client.connection = connection;
        client.orders = orders;
        let missed = client.sent.iter().filter(|(seq, _)| seen.is_some_and(|seen| u64::from(*seq) > seen));
        let missed = missed.map(|(_, text)| text.clone()).collect();
        Some((client.ssrc, user, client.region.clone(), missed))
    }

    /// Tells all others on the same voice server of the same guild.
    pub fn tell_voice_peers(&mut self, ssrc: u32, op: u64, data: &Value) {
        let Some(guild) = self.voice_connections.get(&ssrc).map(|client| client.guild) else { return };
        for client in self.voice_connections.values_mut().filter(|client| client.guild == guild && client.ssrc != ssrc)
        {
            client.tell(op, data);
        }
    }

    /// Announces a newcomer; who is there already.
    pub fn join_voice_peers(&mut self, ssrc: u32) -> Vec<Snowflake> {
        let Some((guild, user)) = self.voice_connections.get(&ssrc).map(|client| (client.guild, client.user)) else {
            return Vec::new();
        };
        self.tell_voice_peers(ssrc, 11, &json!({ "user_ids": [user] }));
        let others = self.voice_connections.values().filter(|client| client.guild == guild && client.ssrc != ssrc);
        others.map(|client| client.user).collect()
    }

    pub fn next_voice_seq(&mut self, ssrc: u32) -> u16 {
        let Some(client) = self.voice_connections.get_mut(&ssrc) else { return 0 };
        client.seq = client.seq.wrapping_add(1);
        client.seq
    }

    pub fn note_key_package(&mut self, ssrc: u32, bytes: usize) {
        if let Some(client) = self.voice_connections.get_mut(&ssrc) {
            client.key_package = Some(bytes);
        }
    }

    /// To the voice connections of a user (of all, if `None`), at once; how many got it.
    pub fn disturb_voice(&self, user: Option<Snowflake>, effect: &Effect) -> usize {
        let attached = self.voice_connections.values().filter(|client| client.detached_at.is_none());
        attached
            .filter(|client| user.is_none_or(|user| client.user == user))
            .filter(|client| client.orders.try_send(VoiceOrder::Fault(effect.clone())).is_ok())
            .count()
    }
}
