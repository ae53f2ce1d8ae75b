//! What every answer carries so that a browser keeps it to itself, and which requests are not the pages' own.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::answer::Refusal;

/// How the dashboard is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// Plain HTTP on a loopback address: whoever has an account on this host may look.
    Loopback,
    /// HTTPS: whoever has logged in.
    Tls,
}

/// Nothing from anywhere else, no inline script or style, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

pub(crate) async fn shield(State(entrance): State<Entrance>, request: Request, next: Next) -> Response {
    let refused = foreign(entrance, &request);
    let mut response = match refused {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A page of another site that reaches this one through the user's browser: by a name that points here (DNS rebinding), or by
/// a request that changes something.
fn foreign(entrance: Entrance, request: &Request) -> Option<Refusal> {
    let text = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    if entrance == Entrance::Loopback && !text(header::HOST).is_some_and(is_loopback) {
        let message = "this dashboard answers to localhost and loopback addresses only; behind a reverse proxy let it \
                       pass one of them as Host";
        return Some(Refusal::new(StatusCode::MISDIRECTED_REQUEST, "host", message));
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let site = text(HeaderName::from_static("sec-fetch-site"));
    if !reads && !matches!(site, None | Some("same-origin" | "none")) {
        return Some(Refusal::new(StatusCode::FORBIDDEN, "cross_site", "this request comes from another site's page"));
    }
    None
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_names_of_this_host_are_its_own() {
        for own in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.9.9.9", "[::1]:8080"] {
            assert!(is_loopback(own), "{own}");
        }
        for other in ["", "example.org", "localhost.example.org:80", "10.0.0.1:8080", "[2001:db8::1]:80", "0.0.0.0"] {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
