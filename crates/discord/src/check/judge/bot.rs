//! What is judged of the steps that only a bot may take: a message's echo, and voice.

use super::{Culprit, FAILED, GATEWAY_MS, ROUTE_MS, Suspect, of, round_trip_ms};
use crate::check::{Row, Step};

/// From a message's POST to its event, beyond the network's share: a request and an event, each to the origin and back.
const ECHO_MS: f64 = 500.0;

/// What was not tried has its reason elsewhere, which stands out more.
fn failed(problem: &str) -> f64 {
    if problem.starts_with("not tried") { 1.0 } else { FAILED }
}

pub(super) fn messages(rows: &[Row]) -> Option<Suspect> {
    let row = of(rows, Step::MessageEcho).next()?;
    let (ratio, sentence) = match (&row.problem, row.app_ms, row.rest_ms) {
        (Some(problem), ..) => {
            (failed(problem), format!("A message's echo in {} was not seen: {problem}.", row.target))
        }
        (None, Some(app), Some(rest)) => (
            rest / ECHO_MS,
            format!(
                "The time goes to Discord, between its taking a message and its telling the gateway: an echo takes {:.0} ms, {:.0} ms of it the network.",
                app.p50,
                row.network_ms.unwrap_or(0.0)
            ),
        ),
        _ => return None,
    };
    Some(Suspect { culprit: Culprit::Messages, ratio, sentence })
}

pub(super) fn voice(rows: &[Row]) -> Option<Suspect> {
    let beat = of(rows, Step::VoiceHeartbeat).next()?;
    let suspect = |ratio, sentence| Some(Suspect { culprit: Culprit::Voice, ratio, sentence });
    let broken = beat.problem.as_ref().and_then(|problem| {
        // Nothing that a user of voice would notice: a library with its own encryption is let in.
        let is_ours = problem.contains("end-to-end encryption");
        suspect(
            if is_ours { 0.0 } else { failed(problem) },
            format!("Voice in {} did not work: {problem}.", beat.target),
        )
    });
    let slow = beat.app_ms.zip(beat.rest_ms).and_then(|(app, rest)| {
        let network = beat.network_ms.unwrap_or(0.0);
        let sentence = format!(
            "The time goes to Discord's voice server {}: a heartbeat takes {:.0} ms, {network:.0} ms of it the network.",
            beat.target, app.p50
        );
        suspect(rest / GATEWAY_MS, sentence)
    });
    let far = of(rows, Step::VoiceConnect).next().and_then(|row| {
        let (app, edge) = (row.app_ms?, round_trip_ms(rows).unwrap_or(0.0));
        let sentence = format!(
            "Discord's voice server for this channel is far: a round trip to {} takes {:.0} ms on the network alone, one to Discord's edge {edge:.0} ms; the channel's region decides which server it is.",
            row.target, app.p50
        );
        // What is far for everything is the route's.
        suspect((app.p50 - edge) / ROUTE_MS, sentence)
    });
    [broken, slow, far].into_iter().flatten().max_by(|a, b| a.ratio.total_cmp(&b.ratio))
}

/// The way of voice itself, which nothing else here takes.
pub(super) fn datagrams(rows: &[Row]) -> Option<Suspect> {
    let row = of(rows, Step::VoiceUdp).find(|row| row.problem.is_some())?;
    let sentence = format!(
        "Your route is the trouble: {} was asked by UDP and nothing came back, so voice cannot work from here.",
        row.target
    );
    Some(Suspect { culprit: Culprit::Route, ratio: FAILED, sentence })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::judge;
    use super::*;

    fn row(step: Step, app_ms: u64, rtt_ms: u64) -> Row {
        Row::timed(step, "there", &[Duration::from_millis(app_ms)], Some(Duration::from_millis(rtt_ms)), 1)
    }

    fn rows(echo: u64, connect: u64, beat: u64) -> Vec<Row> {
        vec![
            row(Step::Tcp, 20, 20),
            row(Step::Rest, 120, 20),
            row(Step::GatewayHeartbeat, 120, 20),
            row(Step::MessageEcho, echo, 20),
            row(Step::VoiceConnect, connect, connect),
            row(Step::VoiceHeartbeat, beat, connect),
        ]
    }

    #[test]
    fn messages_and_voice_are_judged_beyond_their_network() {
        let culprit = |rows: &[Row]| judge(rows, None).culprit;
        assert_eq!(culprit(&rows(200, 25, 30)), Culprit::Nothing);
        assert_eq!(culprit(&rows(800, 25, 30)), Culprit::Messages);
        assert_eq!(culprit(&rows(200, 25, 400)), Culprit::Voice);
        let far = judge(&rows(200, 180, 190), None);
        assert!(far.culprit == Culprit::Voice && far.sentence.contains("is far"), "{far:?}");
        // Far behind a far way is the way.
        let mut behind = rows(200, 200, 210);
        behind[0] = row(Step::Tcp, 190, 190);
        assert_eq!(culprit(&behind), Culprit::Route);
    }

    #[test]
    fn what_failed_is_named_and_what_was_not_tried_is_not_to_blame() {
        let with = |step, problem: &str| {
            let mut all = rows(200, 25, 30);
            all.retain(|row| row.step != step);
            all.push(Row::failed(step, "there", problem));
            judge(&all, None)
        };
        assert_eq!(with(Step::MessageEcho, "403: the bot may not do that here").culprit, Culprit::Messages);
        assert_eq!(with(Step::MessageEcho, "429: rate-limited (user, wait 3.0 s)").culprit, Culprit::RateLimited);
        assert_eq!(with(Step::VoiceUdp, "nothing came back by UDP").culprit, Culprit::Route);
        let refused = "the voice server wants end-to-end encryption that this check has not (close code 4017)";
        assert_eq!(with(Step::VoiceHeartbeat, refused).culprit, Culprit::Nothing);
        let mut all = rows(200, 25, 30);
        all[1] = row(Step::Rest, 700, 20);
        all[3] = Row::failed(Step::MessageEcho, "there", "not tried: REST was not well");
        assert_eq!(judge(&all, None).culprit, Culprit::Rest);
    }
}
