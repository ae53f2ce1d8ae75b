//! REST's rate limits: per route and its channel, guild or webhook; per bot over all routes; and the ban for too many bad answers.
//! Discord publishes no figures but the global one; these are near what is seen, and may be set.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Config;
use crate::faults::Scope;

/// Windows kept; those that are over go first.
const KEPT: usize = 50_000;
const BAN_WINDOW: Duration = Duration::from_secs(600);

/// Route, requests, window in milliseconds.
const DEFAULTS: [(&str, u32, u64); 11] = [
    ("POST /channels/{channel_id}/messages", 5, 5000),
    ("PATCH /channels/{channel_id}/messages/{message_id}", 5, 5000),
    ("DELETE /channels/{channel_id}/messages/{message_id}", 5, 1000),
    ("GET /channels/{channel_id}/messages", 5, 5000),
    ("* /channels/{channel_id}/messages/{message_id}/reactions/*", 1, 250),
    ("PATCH /channels/{channel_id}", 5, 15_000),
    ("POST /channels/{channel_id}/typing", 5, 5000),
    ("POST /applications/{application_id}/commands", 5, 20_000),
    ("POST /applications/{application_id}/guilds/{guild_id}/commands", 5, 20_000),
    ("* /webhooks/*", 5, 2000),
    ("* /*", 20, 5000),
];

struct Bucket {
    route: String,
    limit: u32,
    window: Duration,
}

#[derive(Clone, Copy)]
struct Window {
    used: u32,
    ends: Instant,
}

/// What a limited answer says in its headers.
#[derive(Clone, Debug, PartialEq)]
pub struct Allowance {
    pub limit: u32,
    pub remaining: u32,
    pub reset_after: Duration,
    pub bucket: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    pub scope: Scope,
    pub retry_after: Duration,
    pub allowance: Option<Allowance>,
}

/// Counts; the clock comes as an argument.
pub struct Limiter {
    buckets: Vec<Bucket>,
    global_per_second: u32,
    invalid_limit: u32,
    windows: HashMap<(String, usize, String), Window>,
    global: HashMap<String, Window>,
    invalid: HashMap<IpAddr, Window>,
}

impl Limiter {
    pub fn new(config: &Config) -> Limiter {
        let own = config.route_limits.iter().map(|limit| (limit.route.as_str(), limit.limit, limit.window_ms));
        let buckets = own
            .chain(DEFAULTS)
            .map(|(route, limit, window_ms)| Bucket {
                route: route.to_owned(),
                limit: limit.max(1),
                window: Duration::from_millis(window_ms.max(1)),
            })
            .collect();
        Limiter {
            buckets,
            global_per_second: config.limits.global_per_second.max(1),
            invalid_limit: config.limits.invalid_per_10_minutes.max(1),
            windows: HashMap::new(),
            global: HashMap::new(),
            invalid: HashMap::new(),
        }
    }

    /// Counts one request of `caller` (a bot's id, or an address where there is none). `template`: the route with its
    /// parameters' names; `major`: the channel, guild or webhook in it.
    pub fn take(
        &mut self,
        now: Instant,
        caller: &str,
        method: &str,
        template: &str,
        major: &str,
    ) -> Result<Allowance, Refused> {
        let matches = |bucket: &&Bucket| crate::faults::route_matches(&bucket.route, (method, template));
        let Some(index) = self.buckets.iter().position(|bucket| matches(&bucket)) else {
            return Ok(Allowance { limit: 1, remaining: 1, reset_after: Duration::ZERO, bucket: String::new() });
        };
        if self.windows.len() >= KEPT {
            self.windows.retain(|_, window| window.ends > now);
        }
        let bucket = &self.buckets[index];
        // Routes that only the catch-all covers still have a bucket each.
        let own = if bucket.route == "* /*" { format!("{method} {template}") } else { bucket.route.clone() };
        let name = bucket_name(&own);
        let key = (caller.to_owned(), index, format!("{own} {major}"));
        let fresh = Window { used: 0, ends: now + bucket.window };
        let window = self.windows.entry(key).or_insert(fresh);
        if window.ends <= now {
            *window = fresh;
        }
        let mut allowance = Allowance {
            limit: bucket.limit,
            remaining: bucket.limit.saturating_sub(window.used),
            reset_after: window.ends - now,
            bucket: name,
        };
        if window.used >= bucket.limit {
            return Err(Refused { scope: Scope::User, retry_after: window.ends - now, allowance: Some(allowance) });
        }
        if self.global.len() >= KEPT {
            self.global.retain(|_, window| window.ends > now);
        }
        let fresh = Window { used: 0, ends: now + Duration::from_secs(1) };
        let global = self.global.entry(caller.to_owned()).or_insert(fresh);
        if global.ends <= now {
            *global = fresh;
        }
        if global.used >= self.global_per_second {
            return Err(Refused { scope: Scope::Global, retry_after: global.ends - now, allowance: None });
        }
        global.used += 1;
        window.used += 1;
        allowance.remaining -= 1;
        Ok(allowance)
    }

    /// Counts an answer of 401, 403 or 429 (not shared).
    pub fn note_invalid(&mut self, now: Instant, address: IpAddr) {
        if self.invalid.len() >= KEPT {
            self.invalid.retain(|_, window| window.ends > now);
        }
        let fresh = Window { used: 0, ends: now + BAN_WINDOW };
        let window = self.invalid.entry(address).or_insert(fresh);
        if window.ends <= now {
            *window = fresh;
        }
        window.used = window.used.saturating_add(1);
    }

    /// How much longer this address is banned.
    pub fn banned(&self, now: Instant, address: IpAddr) -> Option<Duration> {
        let window = self.invalid.get(&address)?;
        (window.used >= self.invalid_limit && window.ends > now).then(|| window.ends - now)
    }
}

/// 32 hexadecimal digits, the same for the same route.
fn bucket_name(route: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, route.as_bytes());
    data_encoding::HEXLOWER.encode(&digest.as_ref()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: (&str, &str) = ("POST", "/channels/{channel_id}/messages");

    fn take(limiter: &mut Limiter, now: Instant, major: &str) -> Result<Allowance, Refused> {
        limiter.take(now, "bot", POST.0, POST.1, major)
    }

    #[test]
    fn a_window_allows_its_number_and_opens_again() {
        let mut limiter = Limiter::new(&Config::default());
        let start = Instant::now();
        let left: Vec<u32> = (0..5).map(|_| take(&mut limiter, start, "1").unwrap().remaining).collect();
        assert_eq!(left, [4, 3, 2, 1, 0]);
        let refused = take(&mut limiter, start + Duration::from_secs(2), "1").unwrap_err();
        assert_eq!((refused.scope, refused.retry_after), (Scope::User, Duration::from_secs(3)));
        assert!(take(&mut limiter, start, "2").is_ok(), "another channel is another bucket");
        assert!(take(&mut limiter, start + Duration::from_secs(5), "1").is_ok());
    }

    #[test]
    fn fifty_a_second_over_all_routes() {
        let mut limiter = Limiter::new(&Config::default());
        let start = Instant::now();
        let taken = (0..60).filter(|number| take(&mut limiter, start, &number.to_string()).is_ok()).count();
        assert_eq!(taken, 50);
        let refused = take(&mut limiter, start, "other").unwrap_err();
        assert_eq!(refused.scope, Scope::Global);
        assert!(take(&mut limiter, start + Duration::from_secs(1), "other").is_ok());
    }

    #[test]
    fn ten_thousand_bad_answers_ban_the_address() {
        let mut limiter = Limiter::new(&Config::default());
        let (start, address) = (Instant::now(), IpAddr::from([127, 0, 0, 1]));
        for _ in 0..9_999 {
            limiter.note_invalid(start, address);
        }
        assert_eq!(limiter.banned(start, address), None);
        limiter.note_invalid(start, address);
        assert_eq!(limiter.banned(start, address), Some(BAN_WINDOW));
        assert_eq!(limiter.banned(start + BAN_WINDOW, address), None);
    }
}
