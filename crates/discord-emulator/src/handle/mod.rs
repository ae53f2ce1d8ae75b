//! The control API: act as a user, set delays and faults at run time, read the truth. The admin port offers the same over HTTP.

mod act;
mod disturb;

pub use act::InteractionView;

use std::sync::Arc;

use crate::hub::Hub;
use crate::id::Snowflake;
use crate::stamps::Exchange;
use crate::state::World;

/// Cheap to clone; it does not keep the emulator's ports open.
#[derive(Clone)]
pub struct Handle {
    hub: Arc<Hub>,
    ca: Arc<str>,
}

impl Handle {
    pub(crate) fn new(hub: Arc<Hub>, ca: Arc<str>) -> Handle {
        Handle { hub, ca }
    }

    /// The private CA's certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Looks at, or changes, anything directly. The lock is held while `look` runs.
    pub fn with_world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.hub.world())
    }

    /// Id of a user or bot.
    pub fn user(&self, name: &str) -> Option<Snowflake> {
        self.hub.world().user_by_name(name)
    }

    pub fn guild(&self, name: &str) -> Option<Snowflake> {
        self.hub.world().guild_by_name(name)
    }

    /// Id of a channel of a guild; of several with one name the oldest.
    pub fn channel(&self, guild: Snowflake, name: &str) -> Option<Snowflake> {
        let world = self.hub.world();
        let guild = world.guilds.get(&guild)?;
        guild.channels.iter().copied().find(|id| world.channels.get(id).is_some_and(|channel| channel.name == name))
    }

    /// Exchanges from `number` on that `wanted` accepts, oldest first.
    pub fn exchanges(&self, number: u64, wanted: impl Fn(&Exchange) -> bool) -> Vec<Exchange> {
        self.hub.stamps.since(number, usize::MAX, wanted)
    }

    /// At most `limit` of them.
    pub fn exchanges_page(&self, number: u64, limit: usize, wanted: impl Fn(&Exchange) -> bool) -> Vec<Exchange> {
        self.hub.stamps.since(number, limit, wanted)
    }

    /// Number the next exchange will have: ask before an experiment, read from there after it.
    pub fn next_exchange(&self) -> u64 {
        self.hub.stamps.next_number()
    }

    /// Gateway sessions of a user that have a connection now.
    pub fn connected_sessions(&self, user: Snowflake) -> usize {
        let world = self.hub.world();
        world.sessions.values().filter(|session| session.user == user && session.attached.is_some()).count()
    }

    /// Open TCP connections.
    pub fn connections(&self) -> usize {
        self.hub.connections.count()
    }
}
