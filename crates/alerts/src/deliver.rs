//! Hands a note to its webhook. The URL is a secret: it is in no error and in no log.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Url};
use rustls::crypto::ring;

use crate::AlertError;
use crate::message::Event;
use crate::rule::{Format, Rule};

const REQUEST: Duration = Duration::from_secs(10);
const FIRST_PAUSE_S: i64 = 5;
const LONGEST_PAUSE_S: i64 = 3_600;
/// Older news are no news.
pub(crate) const GIVEN_UP_S: i64 = 24 * 3_600;

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Taken,
    /// To be tried again after so many seconds.
    Later(i64, String),
    Refused(String),
}

/// A rule with whom to tell.
pub(crate) struct Webhook {
    pub rule: Rule,
    url: Url,
}

impl Webhook {
    /// Reads the URL from its file or variable.
    pub(crate) fn new(rule: Rule) -> Result<Webhook, AlertError> {
        let wrong = |what: String| AlertError::Url { name: rule.name.clone(), what };
        let text = match (&rule.url_file, &rule.url_env) {
            (Some(path), _) => std::fs::read_to_string(path)
                .map_err(|error| wrong(format!("cannot read {}: {error}", path.display())))?,
            (None, Some(variable)) => {
                std::env::var(variable).map_err(|_| wrong(format!("the environment variable {variable} is not set")))?
            }
            (None, None) => return Err(wrong("no url_file and no url_env".to_owned())),
        };
        let mut url = Url::parse(text.trim()).map_err(|_| wrong("what is there is no URL".to_owned()))?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !(url.scheme() == "https" || url.scheme() == "http" && loopback) || host.is_empty() {
            return Err(wrong("it must be https:// (http:// on loopback only)".to_owned()));
        }
        if rule.format == Format::Discord && !url.query_pairs().any(|(name, _)| name == "wait") {
            // Without it Discord answers before it has looked.
            url.query_pairs_mut().append_pair("wait", "true");
        }
        Ok(Webhook { rule, url })
    }
}

/// One for all webhooks, with the system's trusted certificates (or `SSL_CERT_FILE`'s).
pub(crate) fn client() -> Result<Client, AlertError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let failed = |error: &dyn std::fmt::Display| AlertError::Client(error.to_string());
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(REQUEST)
        .pool_max_idle_per_host(1)
        .user_agent(concat!("netlat/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| failed(&error))
}

/// One attempt. `attempts` were made before.
pub(crate) async fn attempt(client: &Client, webhook: &Webhook, event: &Event, attempts: u32) -> Outcome {
    let body = event.body(webhook.rule.format).to_string();
    let request = client.post(webhook.url.clone()).header(CONTENT_TYPE, "application/json").body(body);
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Outcome::Later(pause_s(attempts), plain(error)),
    };
    let status = response.status();
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse::<f64>().ok());
    match status.as_u16() {
        200..=299 => Outcome::Taken,
        429 => {
            let wait = after.filter(|s| s.is_finite()).map_or(pause_s(attempts), |s| s.ceil() as i64);
            Outcome::Later(wait.clamp(1, LONGEST_PAUSE_S), format!("answered {status}"))
        }
        408 | 500..=599 => Outcome::Later(pause_s(attempts), format!("answered {status}")),
        _ => Outcome::Refused(format!("answered {status}")),
    }
}

/// Doubles up to an hour, with a fifth of jitter.
fn pause_s(attempts: u32) -> i64 {
    let pause = FIRST_PAUSE_S.saturating_mul(1 << attempts.min(12)).min(LONGEST_PAUSE_S);
    pause + fastrand::i64(0..=pause / 5)
}

/// The error's causes without the URL.
fn plain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
