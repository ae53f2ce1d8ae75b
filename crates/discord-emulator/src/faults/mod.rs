//! Delays and faults on demand: rules that match requests, events, datagrams and names, set from the configuration or at run time.

mod rule;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use rule::{Effect, Rule, Scope, route_matches};

use crate::id::Snowflake;

/// Rules that may be set at a time.
const RULES: usize = 1000;

/// Where something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Surface {
    Rest,
    Gateway,
    /// The voice gateway, and VOICE_SERVER_UPDATE.
    Voice,
    /// The voice server's UDP port.
    Udp,
    Dns,
}

/// One thing that happens, as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Point<'a> {
    pub surface: Surface,
    /// HTTP method and path below the version.
    pub request: Option<(&'a str, &'a str)>,
    /// Name of a dispatch or of an op: `MESSAGE_CREATE`, `HEARTBEAT_ACK`, `IP_DISCOVERY`.
    pub event: Option<&'a str>,
    pub region: Option<&'a str>,
    pub user: Option<&'a str>,
    pub guild: Option<Snowflake>,
    /// Name asked for in DNS.
    pub host: Option<&'a str>,
}

impl Point<'_> {
    pub fn new(surface: Surface) -> Point<'static> {
        Point { surface, request: None, event: None, region: None, user: None, guild: None, host: None }
    }
}

/// What all matching rules together ask for.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// Before it is handled or sent.
    pub delay: Duration,
    /// REST: after it was handled, before the answer.
    pub answer_delay: Duration,
    pub effect: Option<Effect>,
}

struct Active {
    rule: Rule,
    seen: u64,
    used: u64,
}

pub struct Faults {
    rules: Mutex<(Vec<Active>, SplitMix)>,
    /// Nothing answers: new connections are reset, datagrams dropped.
    away: AtomicBool,
}

impl Faults {
    pub fn new(rules: Vec<Rule>, seed: u64) -> Faults {
        let faults = Faults { rules: Mutex::new((Vec::new(), SplitMix(seed))), away: AtomicBool::new(false) };
        faults.set(rules);
        faults
    }

    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    /// Replaces all rules; the first thousand count.
    pub fn set(&self, rules: Vec<Rule>) {
        let fresh = rules.into_iter().take(RULES).map(|rule| Active { rule, seen: 0, used: 0 }).collect();
        lock(&self.rules).0 = fresh;
    }

    /// Adds a rule; one of the same name is replaced. False: there are too many.
    pub fn add(&self, rule: Rule) -> bool {
        let mut guard = lock(&self.rules);
        let rules = &mut guard.0;
        if rule.name.is_some() {
            rules.retain(|active| active.rule.name != rule.name);
        }
        if rules.len() >= RULES {
            return false;
        }
        rules.push(Active { rule, seen: 0, used: 0 });
        true
    }

    /// Removes the rules of this name; how many there were.
    pub fn remove(&self, name: &str) -> usize {
        let mut guard = lock(&self.rules);
        let before = guard.0.len();
        guard.0.retain(|active| active.rule.name.as_deref() != Some(name));
        before - guard.0.len()
    }

    /// Each rule, how often it matched, how often it acted.
    pub fn list(&self) -> Vec<(Rule, u64, u64)> {
        lock(&self.rules).0.iter().map(|active| (active.rule.clone(), active.seen, active.used)).collect()
    }

    /// What is to happen here: delays of all matching rules add up, the first effect counts.
    pub fn decide(&self, point: &Point<'_>) -> Decision {
        let mut decision = Decision::default();
        let mut guard = lock(&self.rules);
        let (rules, random) = &mut *guard;
        for active in rules.iter_mut() {
            let rule = &active.rule;
            if !rule.matches(point) || decision.effect.is_some() && rule.effect.is_some() {
                continue;
            }
            active.seen += 1;
            let spent = rule.times.is_some_and(|times| active.used >= times);
            if active.seen <= rule.skip || spent || random.fraction() >= rule.probability {
                continue;
            }
            active.used += 1;
            decision.delay += milliseconds(rule.delay_ms + rule.jitter_ms * random.fraction());
            decision.answer_delay += milliseconds(rule.answer_delay_ms);
            decision.effect = decision.effect.take().or_else(|| rule.effect.clone());
        }
        decision
    }
}

fn milliseconds(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// SplitMix64: reproducible jitter from the configuration's seed, nothing secret.
struct SplitMix(u64);

impl SplitMix {
    /// In [0, 1).
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
