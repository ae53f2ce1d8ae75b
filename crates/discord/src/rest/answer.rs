//! One request and what its answer says: status, limits, the edge that answered, times.

use std::time::Duration;

use hyper::HeaderMap;
use model::UnixNanos;
use serde::Deserialize;

use crate::rest::limits::{Headers, RouteKey};

pub use hyper::Method;

/// A request. `route` is the method and the path with `{}` for its changing parts, as rate limits are counted.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    pub key: RouteKey,
    /// After the endpoint's prefix, with its query.
    pub path: String,
    pub body: Option<Vec<u8>>,
    pub content_type: String,
    /// It may be sent again after an answer that never came.
    pub repeatable: bool,
    /// Sent with the token. Answers to interactions carry their own.
    pub authorised: bool,
}

impl Call {
    /// `route` begins with the method.
    pub fn new(route: &'static str, major: u64, path: String) -> Call {
        let method = route.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(Method::GET);
        let repeatable = method != Method::POST;
        let content_type = "application/json".to_owned();
        Call { method, key: RouteKey { route, major }, path, body: None, content_type, repeatable, authorised: true }
    }

    pub fn body(mut self, body: &impl serde::Serialize) -> Call {
        // What is sent are this crate's own types, whose maps have string keys: writing them cannot fail.
        self.body = serde_json::to_vec(body).ok();
        self
    }

    pub fn raw(mut self, body: Vec<u8>, content_type: String) -> Call {
        (self.body, self.content_type) = (Some(body), content_type);
        self
    }

    pub fn repeatable(mut self) -> Call {
        self.repeatable = true;
        self
    }

    pub fn unauthorised(mut self) -> Call {
        self.authorised = false;
        self
    }

    pub(crate) fn name(&self) -> String {
        self.key.route.to_owned()
    }
}

/// Times of the request that was answered; earlier attempts are in `wait`.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    pub sent_at: UnixNanos,
    pub received_at: UnixNanos,
    /// From the request's first byte to the answer's last, on a connection that stood before.
    pub app: Duration,
    /// Held back by rate limits, 429s included, before the request that was answered.
    pub wait: Duration,
    /// The kernel's minimum for this connection.
    pub network: Option<Duration>,
    pub peer: std::net::SocketAddr,
    /// The edge's location as `cf-ray` ends with it, in lower case.
    pub edge: Option<String>,
    pub status: u16,
    /// The answer's own `Date`, whole seconds since the epoch.
    pub date_s: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct Timed<T> {
    pub value: T,
    pub timing: Timing,
}

/// The limits that an answer's headers tell; of a 429 also what its body says.
pub(crate) fn limits(headers: &HeaderMap, refusal: Option<&[u8]>) -> Headers {
    #[derive(Default, Deserialize)]
    struct Body {
        #[serde(default)]
        retry_after: Option<f64>,
        #[serde(default)]
        global: bool,
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let seconds = |value: f64| Duration::try_from_secs_f64(value).ok();
    let mut limits = Headers {
        bucket: text("x-ratelimit-bucket").filter(|bucket| bucket.len() <= 128).map(str::to_owned),
        remaining: text("x-ratelimit-remaining").and_then(|value| value.parse().ok()),
        reset_after: text("x-ratelimit-reset-after").and_then(|value| value.parse().ok()).and_then(seconds),
        retry_after: None,
        global: false,
    };
    if let Some(body) = refusal {
        let body: Body = serde_json::from_slice(body).unwrap_or_default();
        let header = text("retry-after").and_then(|value| value.parse().ok()).and_then(seconds);
        // The body has fractions of a second, the header is all that a proxy in front of Discord gives.
        limits.retry_after = body.retry_after.and_then(seconds).or(header);
        limits.global = body.global
            || text("x-ratelimit-global").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || text("x-ratelimit-scope") == Some("global");
    }
    limits
}

/// The location after the last `-` of `cf-ray`: three letters.
pub(crate) fn edge(headers: &HeaderMap) -> Option<String> {
    let ray = headers.get("cf-ray")?.to_str().ok()?;
    let (_, place) = ray.rsplit_once('-')?;
    (place.len() == 3 && place.bytes().all(|byte| byte.is_ascii_alphabetic())).then(|| place.to_ascii_lowercase())
}

/// RFC 9110, section 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) fn date_s(headers: &HeaderMap) -> Option<i64> {
    let text = headers.get(hyper::header::DATE)?.to_str().ok()?;
    let text = text.strip_suffix("GMT")?.trim_end();
    let text = format!("{text} +0000");
    time::OffsetDateTime::parse(&text, &time::format_description::well_known::Rfc2822)
        .ok()
        .map(time::OffsetDateTime::unix_timestamp)
}

/// What an error's body says (reference, "Error Messages"): its code and message, bounded and on one line.
pub(crate) fn refusal(body: &[u8]) -> (u64, String) {
    #[derive(Default, Deserialize)]
    struct Body {
        #[serde(default)]
        code: u64,
        #[serde(default)]
        message: String,
    }
    let body: Body = serde_json::from_slice(body).unwrap_or_default();
    let message: String = body.message.chars().filter(|c| !c.is_control()).take(200).collect();
    (body.code, if message.is_empty() { "no reason given".to_owned() } else { message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (hyper::header::HeaderName::from_static(name), hyper::header::HeaderValue::from_static(value))
            })
            .collect()
    }

    /// Header and body as in Discord's reference, "Rate Limits".
    #[test]
    fn the_references_refusal_is_understood() {
        let told = headers(&[
            ("retry-after", "65"),
            ("x-ratelimit-limit", "10"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1470173023.123"),
            ("x-ratelimit-reset-after", "64.57"),
            ("x-ratelimit-bucket", "abcd1234"),
            ("x-ratelimit-scope", "user"),
        ]);
        let body = br#"{"message": "You are being rate limited.", "retry_after": 64.57, "global": false}"#;
        let limits = limits(&told, Some(body));
        assert_eq!(limits.retry_after, Some(Duration::from_millis(64_570)));
        assert_eq!((limits.remaining, limits.bucket.as_deref(), limits.global), (Some(0), Some("abcd1234"), false));
    }

    #[test]
    fn a_proxys_page_still_says_when_to_come_back() {
        let told = headers(&[("retry-after", "7")]);
        assert_eq!(limits(&told, Some(b"<html>")).retry_after, Some(Duration::from_secs(7)));
        let hostile = headers(&[("retry-after", "-1")]);
        assert_eq!(limits(&hostile, Some(br#"{"retry_after": 1e300}"#)).retry_after, None);
    }

    #[test]
    fn the_edge_and_the_date_are_read() {
        let told = headers(&[("cf-ray", "8ab1c2d3e4f5a6b7-AMS"), ("date", "Sun, 06 Nov 1994 08:49:37 GMT")]);
        assert_eq!(edge(&told).as_deref(), Some("ams"));
        // The instant of RFC 9110's example.
        assert_eq!(date_s(&told), Some(784_111_777));
        assert_eq!(edge(&headers(&[("cf-ray", "x-'; --")])), None);
    }

    #[test]
    fn an_error_says_its_code_and_never_more_than_a_line() {
        let (code, message) = refusal(b"{\"code\": 50013, \"message\": \"Missing\\nPermissions\"}");
        assert_eq!((code, message.as_str()), (50013, "MissingPermissions"));
        assert_eq!(refusal(b"<html>").1, "no reason given");
    }
}
