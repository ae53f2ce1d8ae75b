//! The one sentence: where the time goes. Pure: rows in, culprit out.
//!
//! A step is held against what it takes where nothing is wrong; whatever exceeds it most, as a ratio, is the culprit. The figures are
//! generous: a bot in Europe whose REST and gateway reach Discord's origin in the eastern United States stays below them.

mod bot;

use serde::Serialize;

use super::{Looks, Row, Step};

/// A resolver's time beyond one round trip of the network.
const RESOLVER_MS: f64 = 100.0;
/// Round trip to Discord's edge, which has one near most places.
const ROUTE_MS: f64 = 100.0;
/// A connect that took a second had its SYN lost (RFC 6298 section 2.1).
const LOST_SYN_MS: f64 = 950.0;
/// Of some dozens of segments.
const RETRANSMITS: u32 = 4;
/// First byte of an answer beyond the network's round trip: edge to origin, and Discord itself.
const REST_MS: f64 = 300.0;
/// The same of a heartbeat.
const GATEWAY_MS: f64 = 250.0;
/// Upgrade and Hello, once, beyond the network's round trip.
const HELLO_MS: f64 = 500.0;
/// Bytes unread for so long: a human notices, a heartbeat is late.
const UNREAD_MS: f64 = 250.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Culprit {
    /// Nothing stands out.
    Nothing,
    Resolver,
    Route,
    Rest,
    Gateway,
    /// The watched process does not read what has arrived.
    Process,
    RateLimited,
    /// Between Discord's taking a message and its telling the gateway of it, or neither came about.
    Messages,
    /// The voice server that Discord chose: far, slow, or refusing.
    Voice,
    /// Somebody between this host and Discord answers in its place.
    Intercepted,
    /// The token is refused: nothing is slow, but nothing will work.
    Token,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    pub culprit: Culprit,
    pub sentence: String,
    /// What else exceeds what is usual, worst first.
    pub also: Vec<Culprit>,
}

/// How far a step is beyond what is usual (1 and more stands out), and how that is said.
struct Suspect {
    culprit: Culprit,
    ratio: f64,
    sentence: String,
}

pub fn judge(rows: &[Row], process: Option<&Looks>) -> Verdict {
    let mut suspects: Vec<Suspect> = [
        limited(rows),
        intercepted(rows),
        token(rows),
        resolver(rows),
        route(rows),
        rest(rows),
        gateway(rows),
        bot::messages(rows),
        bot::voice(rows),
        bot::datagrams(rows),
        stalled(process),
    ]
    .into_iter()
    .flatten()
    .filter(|suspect| suspect.ratio >= 1.0)
    .collect();
    suspects.sort_by(|a, b| b.ratio.total_cmp(&a.ratio));
    let mut suspects = suspects.into_iter();
    match suspects.next() {
        None => Verdict { culprit: Culprit::Nothing, sentence: clean(rows, process), also: Vec::new() },
        Some(worst) => Verdict {
            culprit: worst.culprit,
            sentence: worst.sentence,
            also: suspects.map(|suspect| suspect.culprit).collect(),
        },
    }
}

fn of(rows: &[Row], step: Step) -> impl Iterator<Item = &Row> {
    rows.iter().filter(move |row| row.step == step)
}

/// Failures are beyond all measure; what fails first keeps what follows from being tried.
const FAILED: f64 = 1e3;

/// The network's round trip: the least of all connections.
fn round_trip_ms(rows: &[Row]) -> Option<f64> {
    of(rows, Step::Tcp).filter_map(|row| row.network_ms).min_by(f64::total_cmp)
}

fn limited(rows: &[Row]) -> Option<Suspect> {
    let mut asked = of(rows, Step::Rest).chain(of(rows, Step::MessageEcho));
    let row = asked.find(|row| row.problem.as_ref().is_some_and(|text| text.starts_with("429")))?;
    let sentence = format!(
        "You are rate-limited: Discord answered {}. Waiting for that is what takes the time.",
        row.problem.as_deref().unwrap_or_default()
    );
    Some(Suspect { culprit: Culprit::RateLimited, ratio: 2.0 * FAILED, sentence })
}

fn intercepted(rows: &[Row]) -> Option<Suspect> {
    let told = |row: &&Row| row.problem.as_ref().is_some_and(|text| text.contains("captive portal"));
    let row = rows.iter().find(told)?;
    let sentence = format!("Somebody else answers in Discord's place: {}.", row.problem.as_deref().unwrap_or_default());
    Some(Suspect { culprit: Culprit::Intercepted, ratio: 2.0 * FAILED, sentence })
}

fn token(rows: &[Row]) -> Option<Suspect> {
    of(rows, Step::Rest).find(|row| row.problem.as_ref().is_some_and(|text| text.starts_with("401")))?;
    let sentence = "Discord refuses the token (401): it is wrong or was reset.".to_owned();
    Some(Suspect { culprit: Culprit::Token, ratio: 1.5 * FAILED, sentence })
}

fn resolver(rows: &[Row]) -> Option<Suspect> {
    let trip = round_trip_ms(rows).unwrap_or(0.0);
    let suspect = |row: &Row| match (&row.problem, row.app_ms) {
        (Some(problem), _) => Suspect {
            culprit: Culprit::Resolver,
            ratio: FAILED,
            sentence: format!("Your resolver is the trouble: {} says: {problem}.", row.target),
        },
        (None, Some(app)) => Suspect {
            culprit: Culprit::Resolver,
            // A resolver that is as far away as everything else is not to blame for the way.
            ratio: (app.p50 - trip) / RESOLVER_MS,
            sentence: format!("The time goes to your resolver: {} takes {:.0} ms to answer.", row.target, app.p50),
        },
        (None, None) => Suspect { culprit: Culprit::Resolver, ratio: 0.0, sentence: String::new() },
    };
    of(rows, Step::Dns).map(suspect).max_by(|a, b| a.ratio.total_cmp(&b.ratio))
}

fn route(rows: &[Row]) -> Option<Suspect> {
    let resolves = of(rows, Step::Dns).all(|row| row.problem.is_none());
    let suspect = |row: &Row| {
        let app = row.app_ms;
        if let (None, Some(problem)) = (app, &row.problem) {
            let sentence = format!("Your route is the trouble: {} cannot be reached: {problem}.", row.target);
            // Without an address there was nothing to reach.
            return Suspect { culprit: Culprit::Route, ratio: if resolves { FAILED } else { 1.0 }, sentence };
        }
        let (p50, most) = app.map_or((0.0, 0.0), |app| (app.p50, app.max));
        if most >= LOST_SYN_MS {
            let sentence = format!(
                "Your route loses packets: a connect to {} took {most:.0} ms, the others {p50:.0} ms.",
                row.target
            );
            return Suspect { culprit: Culprit::Route, ratio: (most / LOST_SYN_MS).max(p50 / ROUTE_MS), sentence };
        }
        let sentence = format!(
            "The time goes to your route: a round trip to {} takes {p50:.0} ms on the network alone.",
            row.target
        );
        Suspect { culprit: Culprit::Route, ratio: p50 / ROUTE_MS, sentence }
    };
    let lossy = rows.iter().filter_map(|row| Some((row, row.retransmits?))).max_by_key(|(_, count)| *count).map(
        |(row, count)| Suspect {
            culprit: Culprit::Route,
            ratio: f64::from(count) / f64::from(RETRANSMITS),
            sentence: format!(
                "Your route loses packets: {count} segments were sent again on the connection of {} ({}).",
                row.step.name(),
                row.target
            ),
        },
    );
    of(rows, Step::Tcp).map(suspect).chain(lossy).max_by(|a, b| a.ratio.total_cmp(&b.ratio))
}

fn rest(rows: &[Row]) -> Option<Suspect> {
    let row = of(rows, Step::Rest).next()?;
    let network = row.network_ms.unwrap_or(0.0);
    match (&row.problem, row.app_ms, row.rest_ms) {
        (Some(problem), ..) => Some(Suspect {
            culprit: Culprit::Rest,
            ratio: FAILED,
            sentence: format!("Discord's REST API is the trouble: {}: {problem}.", row.target),
        }),
        (None, Some(app), Some(rest)) => Some(Suspect {
            culprit: Culprit::Rest,
            ratio: rest / REST_MS,
            sentence: format!(
                "The time goes to Discord's REST API, between its edge and its origin: {} takes {:.0} ms, {network:.0} ms of it the network.",
                row.target, app.p50
            ),
        }),
        _ => None,
    }
}

fn gateway(rows: &[Row]) -> Option<Suspect> {
    let suspect = |row: &Row| {
        let network = row.network_ms.unwrap_or(0.0);
        match (&row.problem, row.app_ms, row.rest_ms) {
            (Some(problem), ..) => Some(Suspect {
                culprit: Culprit::Gateway,
                ratio: FAILED,
                sentence: format!("Discord's gateway is the trouble: {}: {problem}.", row.target),
            }),
            (None, Some(app), Some(rest)) => {
                let is_beat = row.step == Step::GatewayHeartbeat;
                let what = if is_beat { "a heartbeat" } else { "its Hello" };
                Some(Suspect {
                    culprit: Culprit::Gateway,
                    ratio: rest / if is_beat { GATEWAY_MS } else { HELLO_MS },
                    sentence: format!(
                        "The time goes to Discord's gateway, between its edge and its origin: {what} takes {:.0} ms, {network:.0} ms of it the network.",
                        app.p50
                    ),
                })
            }
            _ => None,
        }
    };
    let both = of(rows, Step::GatewayHello).chain(of(rows, Step::GatewayHeartbeat));
    both.filter_map(suspect).max_by(|a, b| a.ratio.total_cmp(&b.ratio))
}

fn stalled(process: Option<&Looks>) -> Option<Suspect> {
    let looks = process?;
    let doing = if looks.running_percent > 50.0 {
        format!("it computes ({:.0} % of a processor)", looks.cpu_percent)
    } else {
        format!("it sleeps or waits for something else ({:.0} % of a processor)", looks.cpu_percent)
    };
    Some(Suspect {
        culprit: Culprit::Process,
        ratio: looks.unread_ms / UNREAD_MS,
        sentence: format!(
            "The time goes to your process: bytes from Discord waited unread in a socket of {} ({}) for {:.0} ms, so its event loop is blocked; meanwhile {doing}.",
            looks.name, looks.pid, looks.unread_ms
        ),
    })
}

fn clean(rows: &[Row], process: Option<&Looks>) -> String {
    let median = |step| of(rows, step).filter_map(|row| row.app_ms).map(|app| app.p50).next();
    let part = |name: &str, step| median(step).map(|p50| format!("{name} {p50:.0} ms"));
    let parts: Vec<String> = [
        part("resolver", Step::Dns),
        round_trip_ms(rows).map(|ms| format!("network {ms:.0} ms")),
        part("REST", Step::Rest),
        part("heartbeat", Step::GatewayHeartbeat),
        part("message echo", Step::MessageEcho),
        part("voice server", Step::VoiceConnect),
    ]
    .into_iter()
    .flatten()
    .collect();
    let read = match process {
        Some(looks) if looks.problem.is_none() => ", and the process reads what arrives",
        _ => "",
    };
    format!("Nothing stands out: {}{read}.", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn row(step: Step, app_ms: &[u64], rtt_ms: u64) -> Row {
        let times: Vec<Duration> = app_ms.iter().map(|ms| Duration::from_millis(*ms)).collect();
        let rtt = (step != Step::Dns).then(|| Duration::from_millis(rtt_ms));
        Row::timed(step, "there", &times, rtt, 1)
    }

    fn rows(dns: u64, rtt: u64, rest: u64, beat: u64) -> Vec<Row> {
        vec![
            row(Step::Dns, &[dns], rtt),
            row(Step::Tcp, &[rtt, rtt + 1, rtt], rtt),
            row(Step::Tls, &[rtt + 3], rtt),
            row(Step::Rest, &[rest + rtt; 5], rtt),
            row(Step::GatewayHello, &[rtt + 20], rtt),
            row(Step::GatewayHeartbeat, &[beat + rtt; 5], rtt),
        ]
    }

    fn looks(unread_ms: f64) -> Looks {
        Looks {
            pid: 7,
            name: "python3".to_owned(),
            looks: 320,
            cpu_percent: 1.0,
            resident_mb: 40.0,
            running_percent: 2.0,
            connections: Vec::new(),
            unread_ms,
            problem: None,
        }
    }

    #[test]
    fn each_step_that_is_slow_is_named_and_a_slow_way_is_no_one_elses_fault() {
        let culprit = |rows: &[Row]| judge(rows, None).culprit;
        assert_eq!(culprit(&rows(20, 30, 130, 120)), Culprit::Nothing);
        assert_eq!(culprit(&rows(300, 30, 130, 120)), Culprit::Resolver);
        assert_eq!(culprit(&rows(20, 30, 500, 120)), Culprit::Rest);
        assert_eq!(culprit(&rows(20, 30, 130, 400)), Culprit::Gateway);
        let mut late = rows(20, 30, 130, 120);
        late[4] = row(Step::GatewayHello, &[1_530], 30);
        assert!(judge(&late, None).sentence.contains("its Hello takes 1530 ms"));
        // Behind a slow network everything is slow, the resolver too.
        let far = judge(&rows(200, 180, 130, 120), None);
        assert_eq!((far.culprit, far.also.len()), (Culprit::Route, 0));
        let both = judge(&rows(900, 30, 400, 120), None);
        assert_eq!((both.culprit, both.also), (Culprit::Resolver, vec![Culprit::Rest]));
    }

    #[test]
    fn what_failed_comes_before_what_is_slow() {
        let mut found = rows(300, 30, 130, 120);
        found[3] = Row { problem: Some("429: rate-limited (user)".to_owned()), ..row(Step::Rest, &[30], 30) };
        assert_eq!(judge(&found, None).culprit, Culprit::RateLimited);
        let nothing = [
            Row::failed(Step::Dns, "10.0.0.1 discord.com", "no answer within 2 s"),
            Row::failed(Step::Tcp, "discord.com", "the name does not resolve"),
        ];
        assert_eq!(judge(&nothing, None).culprit, Culprit::Resolver);
        let refused = [row(Step::Dns, &[5], 0), Row::failed(Step::Tcp, "discord.com", "connection refused")];
        assert_eq!(judge(&refused, None).culprit, Culprit::Route);
        let portal =
            [row(Step::Tcp, &[5], 5), Row::failed(Step::Tls, "discord.com", "bad certificate: a captive portal")];
        assert_eq!(judge(&portal, None).culprit, Culprit::Intercepted);
    }

    #[test]
    fn losses_show_in_connects_and_retransmits() {
        let mut found = rows(20, 30, 130, 120);
        found[1] = row(Step::Tcp, &[30, 1030, 31], 30);
        assert_eq!(judge(&found, None).culprit, Culprit::Route);
        let mut found = rows(20, 30, 130, 120);
        found[3].retransmits = Some(6);
        assert!(judge(&found, None).sentence.contains("6 segments were sent again"));
    }

    #[test]
    fn a_process_that_does_not_read_is_named() {
        let verdict = judge(&rows(20, 30, 130, 120), Some(&looks(1_800.0)));
        assert_eq!(verdict.culprit, Culprit::Process);
        assert!(
            verdict.sentence.contains("python3 (7)") && verdict.sentence.contains("it sleeps"),
            "{}",
            verdict.sentence
        );
        assert_eq!(judge(&rows(20, 30, 130, 120), Some(&looks(50.0))).culprit, Culprit::Nothing);
    }
}
