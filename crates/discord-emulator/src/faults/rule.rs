//! One rule: what it matches, and what it does there.

use serde::{Deserialize, Serialize};

use super::{Point, Surface};
use crate::id::Snowflake;

/// `X-RateLimit-Scope` of a 429.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    User,
    Global,
    Shared,
}

impl Scope {
    pub fn name(self) -> &'static str {
        match self {
            Scope::User => "user",
            Scope::Global => "global",
            Scope::Shared => "shared",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Effect {
    /// REST: this HTTP status (5xx, 401, 403, 404 ...) instead of an answer.
    Status { code: u16 },
    /// REST: 429.
    RateLimit { scope: Scope, retry_after_ms: u64 },
    /// REST: the body comes byte by byte over this long.
    SlowBody { over_ms: u64 },
    /// REST: half the body, then the sending side is closed. Gateway and voice: the sending side is closed, the rest is read.
    HalfClose,
    /// The connection is reset.
    Reset,
    /// REST: never answered. Gateway and voice: the connection stays open, nothing is read or sent any more.
    Stall,
    /// Not sent at all: an event, an ACK, a datagram, a DNS answer.
    Drop,
    /// Gateway and voice: closed with this code.
    Close { code: u16 },
    /// Gateway: op 7.
    Reconnect,
    /// Gateway: op 9.
    InvalidSession { resumable: bool },
    /// VOICE_SERVER_UPDATE without endpoint; with `for_ms` the real one follows.
    NullEndpoint {
        #[serde(default)]
        for_ms: Option<u64>,
    },
    /// Voice: closed with 4017 as if the client's DAVE were not good enough.
    RefuseDave,
    /// DNS: SERVFAIL.
    ServFail,
    /// DNS: NXDOMAIN.
    NxDomain,
}

impl Effect {
    fn fits(&self, surface: Surface) -> bool {
        use Surface::{Dns, Gateway, Rest, Udp, Voice};
        match self {
            Effect::Status { .. } | Effect::RateLimit { .. } | Effect::SlowBody { .. } => surface == Rest,
            Effect::HalfClose | Effect::Reset | Effect::Stall => matches!(surface, Rest | Gateway | Voice),
            Effect::Drop => matches!(surface, Gateway | Voice | Udp | Dns),
            Effect::Close { .. } => matches!(surface, Gateway | Voice),
            Effect::Reconnect | Effect::InvalidSession { .. } => surface == Gateway,
            Effect::NullEndpoint { .. } | Effect::RefuseDave => surface == Voice,
            Effect::ServFail | Effect::NxDomain => surface == Dns,
        }
    }
}

fn always() -> f64 {
    1.0
}

/// A fault or delay. Fields that are not given match everything.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub on: Surface,
    /// For removing it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `POST /channels/{channel_id}/messages`: method or `*`, and a path below the version; a segment in braces or `*` is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// A dispatch (`MESSAGE_CREATE`), or `HELLO`, `IDENTIFY`, `RESUME`, `HEARTBEAT_ACK`, `IP_DISCOVERY`, `KEEPALIVE` ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Id of a voice region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Name of the bot or user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guild: Option<Snowflake>,
    /// Name in a DNS query; `*.` in front: any below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Before it is handled or sent, milliseconds.
    #[serde(default)]
    pub delay_ms: f64,
    /// On top, uniformly from 0 up to this, milliseconds.
    #[serde(default)]
    pub jitter_ms: f64,
    /// REST: between handling and answer, milliseconds.
    #[serde(default)]
    pub answer_delay_ms: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// Lets this many matches pass first.
    #[serde(default)]
    pub skip: u64,
    /// Acts this often, then no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Of acting on a match, 0 to 1.
    #[serde(default = "always")]
    pub probability: f64,
}

impl Rule {
    pub fn new(on: Surface) -> Rule {
        Rule {
            on,
            name: None,
            route: None,
            event: None,
            region: None,
            user: None,
            guild: None,
            host: None,
            delay_ms: 0.0,
            jitter_ms: 0.0,
            answer_delay_ms: 0.0,
            effect: None,
            skip: 0,
            times: None,
            probability: 1.0,
        }
    }

    pub fn route(self, route: &str) -> Rule {
        Rule { route: Some(route.to_owned()), ..self }
    }

    pub fn event(self, event: &str) -> Rule {
        Rule { event: Some(event.to_owned()), ..self }
    }

    pub fn delay_ms(self, delay_ms: f64) -> Rule {
        Rule { delay_ms, ..self }
    }

    pub fn effect(self, effect: Effect) -> Rule {
        Rule { effect: Some(effect), ..self }
    }

    pub fn times(self, times: u64) -> Rule {
        Rule { times: Some(times), ..self }
    }

    /// What is wrong with it, if anything.
    pub fn problem(&self) -> Option<String> {
        if let Some(effect) = &self.effect
            && !effect.fits(self.on)
        {
            return Some(format!("the effect {effect:?} does not exist on {:?}", self.on));
        }
        let bounded = |value: f64| value.is_finite() && (0.0..=3_600_000.0).contains(&value);
        if ![self.delay_ms, self.jitter_ms, self.answer_delay_ms].into_iter().all(bounded) {
            return Some("a delay lies between 0 and 3600000 ms".to_owned());
        }
        if !(0.0..=1.0).contains(&self.probability) {
            return Some("probability lies between 0 and 1".to_owned());
        }
        if self.route.is_some() && self.on != Surface::Rest {
            return Some("only rest has routes".to_owned());
        }
        if self.route.as_deref().is_some_and(|route| !route.contains(" /")) {
            return Some("a route is METHOD /path, such as `GET /users/@me` or `* /*`".to_owned());
        }
        if let Some(Effect::Status { code }) = self.effect
            && !(400..600).contains(&code)
        {
            return Some("the code of a status lies between 400 and 599".to_owned());
        }
        if let Some(Effect::Close { code }) = self.effect
            && !(matches!(code, 1000..=1003 | 1007..=1014) || (3000..5000).contains(&code))
        {
            return Some("a close code is 1000 to 1014 or 3000 to 4999".to_owned());
        }
        None
    }

    pub(super) fn matches(&self, point: &Point<'_>) -> bool {
        let same = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found.is_some_and(|found| found.eq_ignore_ascii_case(wanted)))
        };
        self.on == point.surface
            && same(&self.event, point.event)
            && same(&self.region, point.region)
            && same(&self.user, point.user)
            && self.guild.is_none_or(|wanted| point.guild == Some(wanted))
            && self.host.as_deref().is_none_or(|wanted| point.host.is_some_and(|host| host_matches(wanted, host)))
            && self
                .route
                .as_deref()
                .is_none_or(|wanted| point.request.is_some_and(|request| route_matches(wanted, request)))
    }
}

fn host_matches(wanted: &str, host: &str) -> bool {
    match wanted.strip_prefix('*') {
        Some(suffix) => host.to_ascii_lowercase().ends_with(&suffix.to_ascii_lowercase()),
        None => host.eq_ignore_ascii_case(wanted),
    }
}

/// Matches `METHOD /a/{x}/b` against a request. A final `*` stands for everything below.
pub fn route_matches(wanted: &str, (method, path): (&str, &str)) -> bool {
    let Some((wanted_method, wanted_path)) = wanted.split_once(' ') else { return false };
    if wanted_method != "*" && !wanted_method.eq_ignore_ascii_case(method) {
        return false;
    }
    let mut found = path.trim_matches('/').split('/');
    let mut wanted = wanted_path.trim_matches('/').split('/').peekable();
    while let Some(segment) = wanted.next() {
        if segment == "*" && wanted.peek().is_none() {
            return true;
        }
        let Some(other) = found.next() else { return false };
        if segment != "*" && !segment.starts_with('{') && segment != other {
            return false;
        }
    }
    found.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Faults;

    #[test]
    fn routes_match_by_segment() {
        let request = ("POST", "/channels/1/messages");
        assert!(route_matches("POST /channels/{channel_id}/messages", request));
        assert!(route_matches("* /channels/1/*", request));
        assert!(route_matches("* /*", request));
        assert!(!route_matches("POST /channels/2/messages", request));
        assert!(!route_matches("POST /channels/{channel_id}", request));
        assert!(!route_matches("GET /channels/{channel_id}/messages", request));
    }

    #[test]
    fn a_rule_acts_after_its_skips_and_only_so_often() {
        let rule = Rule { skip: 1, times: Some(2), ..Rule::new(Surface::Gateway).effect(Effect::Drop) };
        let faults = Faults::new(vec![rule], 1);
        let acted: Vec<bool> = (0..5).map(|_| faults.decide(&Point::new(Surface::Gateway)).effect.is_some()).collect();
        assert_eq!(acted, [false, true, true, false, false]);
    }

    #[test]
    fn a_wrong_rule_is_named() {
        assert!(Rule::new(Surface::Dns).effect(Effect::Reconnect).problem().is_some());
        assert!(Rule::new(Surface::Rest).effect(Effect::Status { code: 200 }).problem().is_some());
        assert!(Rule::new(Surface::Rest).route("/users").problem().is_some());
        assert!(Rule::new(Surface::Rest).delay_ms(f64::NAN).problem().is_some());
        assert!(toml::from_str::<Rule>("on = 'rest'\ndelay = 3").is_err());
    }
}
