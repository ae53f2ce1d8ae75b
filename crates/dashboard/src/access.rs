//! Who may look and who may act: signed cookies, single-use login tokens, the admin token.

use std::sync::Mutex;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use model::UnixNanos;
use ring::rand::SecureRandom;
use ring::{digest, hmac};
use serde::Deserialize;

use crate::answer::Refusal;
use crate::{Dashboard, Entrance};

/// What somebody may do. A viewer's rights reach no worker's and no admin's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Viewer,
    /// And start and stop tasks.
    Admin,
}

impl Role {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Admin => "admin",
        }
    }

    fn from_name(name: &str) -> Option<Role> {
        [Role::Viewer, Role::Admin].into_iter().find(|role| role.name() == name)
    }
}

const DAY_S: i64 = 86_400;
/// A browser stays logged in for so long.
const COOKIE_S: i64 = 30 * DAY_S;
/// A login link that nobody used ends.
const LOGIN_S: i64 = DAY_S;
/// More unused links than this are not kept: the oldest ends.
const MOST_LOGINS: usize = 64;

struct Login {
    hash: [u8; 32],
    role: Role,
    expires_s: i64,
}

/// Decides whether somebody may enter. Knows tokens by their SHA-256 only. Tokens have 128 random bits, so guessing needs no limit.
pub struct Gate {
    key: hmac::Key,
    /// `None`: nobody can become admin here.
    admin_hash: Option<[u8; 32]>,
    logins: Mutex<Vec<Login>>,
}

impl Gate {
    /// `key` signs the cookies: whoever is logged in stays so as long as it stays the same.
    pub fn new(key: &[u8; 32], admin_hash: Option<[u8; 32]>) -> Gate {
        Gate { key: hmac::Key::new(hmac::HMAC_SHA256, key), admin_hash, logins: Mutex::default() }
    }

    /// A token that lets one browser in, once, within a day. `None`: the system gives no random bytes.
    pub fn issue(&self, role: Role, now: UnixNanos) -> Option<String> {
        let mut bytes = [0; 16];
        ring::rand::SystemRandom::new().fill(&mut bytes).ok()?;
        let token = BASE32_NOPAD.encode(&bytes).to_ascii_lowercase();
        let mut logins = self.logins();
        logins.retain(|login| login.expires_s > seconds(now));
        if logins.len() >= MOST_LOGINS {
            logins.remove(0);
        }
        logins.push(Login { hash: hash(&token), role, expires_s: seconds(now) + LOGIN_S });
        Some(token)
    }

    fn redeem(&self, token: &str, now: UnixNanos) -> Option<Role> {
        let hash = hash(token);
        if self.admin_hash == Some(hash) {
            return Some(Role::Admin);
        }
        let mut logins = self.logins();
        let found = logins.iter().position(|login| login.hash == hash && login.expires_s > seconds(now))?;
        Some(logins.remove(found).role)
    }

    fn logins(&self) -> std::sync::MutexGuard<'_, Vec<Login>> {
        self.logins.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn sign(&self, role: Role, expires_s: i64) -> String {
        let said = format!("{}.{expires_s}", role.name());
        let signature = hmac::sign(&self.key, said.as_bytes());
        format!("{said}.{}", HEXLOWER.encode(signature.as_ref()))
    }

    fn verify(&self, cookie: &str, now: UnixNanos) -> Option<Role> {
        let (said, signature) = cookie.rsplit_once('.')?;
        let signature = HEXLOWER.decode(signature.as_bytes()).ok()?;
        hmac::verify(&self.key, said.as_bytes(), &signature).ok()?;
        let (role, expires_s) = said.split_once('.')?;
        (expires_s.parse::<i64>().ok()? > seconds(now)).then(|| Role::from_name(role)).flatten()
    }

    /// Of the request's cookie or, for scripts, of the admin token as bearer.
    fn role(&self, headers: &HeaderMap, entrance: Entrance, now: UnixNanos) -> Option<Role> {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if let Some(token) = bearer.and_then(|value| value.strip_prefix("Bearer ")) {
            return (self.admin_hash == Some(hash(token))).then_some(Role::Admin);
        }
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let cookie = pairs.find(|(name, _)| *name == cookie_name(entrance)).map(|(_, value)| value);
        let known = cookie.and_then(|cookie| self.verify(cookie, now));
        // Whoever can connect to this host's loopback may look.
        known.or((entrance == Entrance::Loopback).then_some(Role::Viewer))
    }
}

fn hash(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    hash
}

fn seconds(at: UnixNanos) -> i64 {
    at.0.div_euclid(1_000_000_000)
}

/// `__Host-` ties it to this host and to HTTPS; browsers refuse the prefix on plain HTTP.
const fn cookie_name(entrance: Entrance) -> &'static str {
    match entrance {
        Entrance::Loopback => "netlat",
        Entrance::Tls => "__Host-netlat",
    }
}

fn set_cookie(entrance: Entrance, value: &str, max_age_s: i64) -> Response {
    let secure = if entrance == Entrance::Tls { "; Secure" } else { "" };
    let name = cookie_name(entrance);
    let cookie = format!("{name}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}");
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response()
}

/// Somebody who may look, and what else they may do.
pub(crate) struct Viewer(pub Role);

impl FromRequestParts<Dashboard> for Viewer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, dashboard: &Dashboard) -> Result<Viewer, Refusal> {
        let entrance = parts.extensions.get::<Entrance>().copied().unwrap_or(Entrance::Tls);
        let all = &dashboard.0.parts;
        let role = all.gate.role(&parts.headers, entrance, all.clock.now());
        role.map(Viewer).ok_or_else(|| {
            let message = "log in first: `netlat server login` on the server prints a link";
            Refusal::new(StatusCode::UNAUTHORIZED, "login", message)
        })
    }
}

/// Somebody who may start and stop tasks.
pub(crate) struct Admin;

impl FromRequestParts<Dashboard> for Admin {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, dashboard: &Dashboard) -> Result<Admin, Refusal> {
        let Viewer(role) = Viewer::from_request_parts(parts, dashboard).await?;
        let message = "this takes admin rights: log in with the link of `netlat server login --admin`";
        (role == Role::Admin).then_some(Admin).ok_or_else(|| Refusal::new(StatusCode::FORBIDDEN, "rights", message))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginRequest {
    token: String,
}

pub(crate) async fn login(
    State(dashboard): State<Dashboard>,
    Extension(entrance): Extension<Entrance>,
    Json(request): Json<LoginRequest>,
) -> Result<Response, Refusal> {
    let all = &dashboard.0.parts;
    let now = all.clock.now();
    let role = all.gate.redeem(request.token.trim(), now).ok_or_else(|| {
        let message = "this login is unknown, used or expired: `netlat server login` on the server prints a fresh one";
        Refusal::new(StatusCode::UNAUTHORIZED, "login", message)
    })?;
    Ok(set_cookie(entrance, &all.gate.sign(role, seconds(now) + COOKIE_S), COOKIE_S))
}

pub(crate) async fn logout(Extension(entrance): Extension<Entrance>) -> Response {
    set_cookie(entrance, "", 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixNanos = UnixNanos(1_790_000_000_000_000_000);

    #[test]
    fn a_login_lets_one_browser_in_once() {
        let gate = Gate::new(&[7; 32], None);
        let token = gate.issue(Role::Viewer, NOW).unwrap();
        assert_eq!(gate.redeem("another", NOW), None);
        assert_eq!(gate.redeem(&token, NOW), Some(Role::Viewer));
        assert_eq!(gate.redeem(&token, NOW), None);
        let late = gate.issue(Role::Admin, NOW).unwrap();
        assert_eq!(gate.redeem(&late, NOW.plus((LOGIN_S + 1) * 1_000_000_000)), None);
    }

    #[test]
    fn a_cookie_says_what_was_signed_until_it_ends() {
        let gate = Gate::new(&[7; 32], None);
        let cookie = gate.sign(Role::Viewer, seconds(NOW) + 10);
        assert_eq!(gate.verify(&cookie, NOW), Some(Role::Viewer));
        assert_eq!(gate.verify(&cookie, NOW.plus(11_000_000_000)), None);
        assert_eq!(gate.verify(&cookie.replace("viewer", "admin"), NOW), None);
        assert_eq!(Gate::new(&[8; 32], None).verify(&cookie, NOW), None);
        for damaged in ["", ".", "viewer", "viewer.9999999999", "viewer.9999999999.", "viewer.9999999999.00"] {
            assert_eq!(gate.verify(damaged, NOW), None, "{damaged}");
        }
    }

    #[test]
    fn unused_logins_are_bounded() {
        let gate = Gate::new(&[7; 32], None);
        let first = gate.issue(Role::Viewer, NOW).unwrap();
        (0..MOST_LOGINS).for_each(|_| drop(gate.issue(Role::Viewer, NOW)));
        assert_eq!(gate.logins().len(), MOST_LOGINS);
        assert_eq!(gate.redeem(&first, NOW), None);
    }
}
