//! How a bot gets into a voice channel: after op 4 the gateway says, in two events that come in either order, which session and which
//! server it is (reference, "Voice Connections").

use crate::gateway::Event;
use crate::rest::Endpoint;
use crate::snowflake::Snowflake;
use crate::types::{VoiceServer, VoiceState};
use crate::voice::frame::Admission;
use crate::voice::session::Left;

/// Where to stay.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) guild: Snowflake,
    pub(crate) channel: Snowflake,
    pub(crate) me: Snowflake,
    /// Voice servers speak TLS; an emulator on loopback that is spoken to in clear text does so here as well.
    pub(crate) tls: bool,
}

impl Seat {
    fn is_mine(&self, state: &VoiceState) -> bool {
        state.user_id == self.me && state.guild_id.is_none_or(|guild| guild == self.guild)
    }
}

/// What the gateway said of this stay.
#[derive(Default)]
pub(crate) struct Known {
    session_id: Option<String>,
    server: Option<VoiceServer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    ToAnotherServer,
    Out,
}

impl Known {
    pub(crate) fn learn(&mut self, event: Event, seat: &Seat) -> Option<Moved> {
        match event {
            Event::VoiceStateUpdate(state) if seat.is_mine(&state) => {
                let is_here = state.channel_id == Some(seat.channel);
                self.session_id = is_here.then_some(state.session_id);
                (!is_here).then_some(Moved::Out)
            }
            // A null endpoint: Discord is still looking for a server, another update follows.
            Event::VoiceServerUpdate(update) if update.guild_id == seat.guild => {
                self.server = Some(*update);
                Some(Moved::ToAnotherServer)
            }
            _ => None,
        }
    }

    /// Both halves of an admission, the server and its name for people; `None` until they are known, and while Discord still looks
    /// for a server.
    pub(crate) fn admission(&self, seat: &Seat) -> Option<Result<(Admission, Endpoint, String), Left>> {
        let (session_id, server) = (self.session_id.as_ref()?, self.server.as_ref()?);
        let target = server.endpoint.as_ref()?;
        let scheme = if seat.tls { "wss" } else { "ws" };
        let endpoint = match format!("{scheme}://{target}").parse() {
            Ok(endpoint) => endpoint,
            Err(error) => return Some(Err(Left::Broken(format!("{error}")))),
        };
        let admission = Admission {
            guild: seat.guild,
            channel: seat.channel,
            user: seat.me,
            session_id: session_id.clone(),
            token: server.token.clone(),
        };
        let target = target.chars().filter(|c| (' '..='~').contains(c)).take(120).collect();
        Some(Ok((admission, endpoint, target)))
    }
}
