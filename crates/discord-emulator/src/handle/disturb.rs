//! Disturbing: rules at run time, and things that happen at once to connections that are open.

use super::Handle;
use crate::faults::{Effect, Rule};
use crate::id::Snowflake;
use crate::state::Order;

impl Handle {
    /// Adds a rule; one of the same name is replaced. An error says what is wrong with it.
    pub fn add_fault(&self, rule: Rule) -> Result<(), String> {
        if let Some(problem) = rule.problem() {
            return Err(problem);
        }
        if self.hub().faults.add(rule) { Ok(()) } else { Err("there are too many rules".to_owned()) }
    }

    /// Replaces all rules.
    pub fn set_faults(&self, rules: Vec<Rule>) -> Result<(), String> {
        match rules.iter().find_map(Rule::problem) {
            Some(problem) => Err(problem),
            None => {
                self.hub().faults.set(rules);
                Ok(())
            }
        }
    }

    /// Each rule, how often it matched, how often it acted.
    pub fn faults(&self) -> Vec<(Rule, u64, u64)> {
        self.hub().faults.list()
    }

    pub fn remove_fault(&self, name: &str) -> usize {
        self.hub().faults.remove(name)
    }

    pub fn clear_faults(&self) {
        self.hub().faults.set(Vec::new());
    }

    /// Discord is away: open connections are reset, new ones too, datagrams are not answered. The admin port stays.
    pub fn set_away(&self, away: bool) {
        self.hub().faults.set_away(away);
        if away {
            self.hub().connections.reset_all();
        }
    }

    /// To the gateway connections of a user (of all, if `None`), at once; how many got it.
    pub fn disturb_gateway(&self, user: Option<Snowflake>, effect: Effect) -> usize {
        let world = self.hub().world();
        let chosen = world.sessions.values().filter(|session| user.is_none_or(|user| session.user == user));
        let attached = chosen.filter_map(|session| session.attached.as_ref());
        attached.filter(|attached| attached.orders.try_send(Order::Fault(effect.clone())).is_ok()).count()
    }

    /// To the voice connections of a user (of all, if `None`), at once; how many got it.
    pub fn disturb_voice(&self, user: Option<Snowflake>, effect: &Effect) -> usize {
        self.hub().world().disturb_voice(user, effect)
    }

    /// Moves message times and ids by this much from the system's clock.
    pub fn set_clock_offset_ms(&self, offset_ms: i64) {
        self.hub().world().clock.set_offset_ms(offset_ms);
    }

    /// Takes a guild down or brings it back, as in an outage.
    pub fn set_guild_available(&self, guild: Snowflake, available: bool) {
        self.hub().world().set_available(guild, available);
    }

    /// Announces a user's voice server again.
    pub fn announce_voice_server(&self, guild: Snowflake, user: Snowflake) {
        self.hub().world().announce_voice_server(guild, user);
    }
}
