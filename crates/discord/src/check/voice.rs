//! A stay of some seconds in a voice channel: how far the server is that Discord chose, and how it answers. No sound is sent.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::bot::Session;
use super::{Row, Step};
use crate::gateway::Frame;
use crate::types::Channel;
use crate::voice::{Known, Left, Seat, VoiceBeat, glance, voice_state};

const BEATS: usize = 3;
/// Until Discord named a server.
const ADMISSION: Duration = Duration::from_secs(8);

pub(super) async fn stay(session: &mut Session<'_>, channel: &Channel, rows: &mut Vec<Row>, notes: &mut Vec<String>) {
    let name = format!("channel {}", channel.id);
    let Some(guild) = channel.guild_id else {
        return rows.push(Row::failed(Step::VoiceHeartbeat, &name, "this channel is in no guild"));
    };
    let seat = Seat { guild, channel: channel.id, me: session.me, tls: session.config.api.tls };
    if let Err(problem) = session.gateway.send(voice_state(guild, Some(channel.id))).await {
        return rows.push(Row::failed(Step::VoiceHeartbeat, &name, problem));
    }
    let found = {
        let mut known = Known::default();
        let admission = async {
            loop {
                if let Some(found) = known.admission(&seat) {
                    return found.map_err(said);
                }
                if let Frame::Event(event) = session.gateway.next().await? {
                    known.learn(*event, &seat);
                }
            }
        };
        timeout_at(session.until.min(Instant::now() + ADMISSION), admission).await
    };
    let found = found.unwrap_or_else(|_| {
        Err("Discord named no voice server in time; it needs View Channel and Connect there".to_owned())
    });
    let (mut beats, mut target) = (Vec::new(), name);
    let outcome = match found {
        Err(problem) => Err(problem),
        Ok((admission, endpoint, server)) => {
            notes.push(match crate::media::city(&endpoint.host) {
                Some(city) => format!("Discord's voice server for this channel: {server} ({city})"),
                None => format!("Discord's voice server for this channel: {server}"),
            });
            target = server;
            let mut told = |beat| beats.push(beat);
            let stay = glance(&endpoint, &session.config.trust, &admission, BEATS, &mut told);
            let stay = timeout_at(session.until, stay).await;
            stay.map_or_else(|_| Err("not at its end in time".to_owned()), |left| left.map_err(said))
        }
    };
    let _ = session.gateway.send(voice_state(guild, None)).await;
    rows.extend(measured(&target, &beats, outcome.err()));
}

fn measured(target: &str, beats: &[VoiceBeat], problem: Option<String>) -> Vec<Row> {
    let mut rows = Vec::new();
    let times = |of: fn(&VoiceBeat) -> Option<Duration>| beats.iter().filter_map(of).collect::<Vec<Duration>>();
    let network = beats.iter().filter_map(|beat| beat.network).min();
    let lookups: Vec<_> = beats.iter().filter_map(|beat| beat.dns).collect();
    if let Some((resolver, _)) = lookups.first() {
        let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
        let took: Vec<Duration> = lookups.iter().map(|(_, took)| *took).collect();
        rows.push(Row::timed(Step::Dns, &format!("{} {host}", resolver.to_canonical()), &took, None, 1));
    }
    if !beats.is_empty() {
        rows.push(Row::timed(Step::VoiceConnect, target, &times(|beat| beat.connect), network, 1));
        let icmp = Row::timed(Step::VoiceIcmp, target, &times(|beat| beat.icmp), None, 1);
        let silent = icmp.app_ms.is_none().then(|| "no answer, or this host may not ask".to_owned());
        rows.push(Row { problem: silent, ..icmp });
        let udp = Row::timed(Step::VoiceUdp, target, &times(|beat| beat.udp), None, 1);
        let closed = udp.app_ms.is_none().then(|| "nothing came back by UDP: voice cannot work from here".to_owned());
        rows.push(Row { problem: closed, ..udp });
    }
    let answered = times(|beat| beat.app);
    let late = (answered.len() < beats.len()).then(|| "a heartbeat was not acknowledged in time".to_owned());
    rows.push(Row { problem: problem.or(late), ..Row::timed(Step::VoiceHeartbeat, target, &answered, network, 1) });
    rows
}

/// How a stay ended, for people.
fn said(left: Left) -> String {
    match left {
        Left::Broken(problem) => problem,
        Left::Refused(code) => format!("the voice server refused the admission (close code {code})"),
        Left::Encryption(code) => {
            format!("the voice server wants end-to-end encryption that this check has not (close code {code})")
        }
    }
}
