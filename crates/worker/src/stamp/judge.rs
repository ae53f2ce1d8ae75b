//! From probes and replies to samples: which mark a reply was sent with, which way a probe was lost, what was not seen.
//! Pure: a function of what was collected.

use std::collections::BTreeMap;

use model::{Direction, Ecn, Family, Kind, Sample, SampleFlags, SessionId, Tos, UnixNanos};
use wire::stamp::{ClassOfService, ReversePathEcn};

use super::receive::{Collector, LeftAt, Probe, Reply};
use super::{ClassOfServiceTlv, ReflectorAbilities, StampCounters};

/// A reply leaves after its T3 was read, and not much later; anything else is not that reply's transmit time.
const FOLLOW_UP_EARLIEST_NS: i64 = -1_000_000;
const FOLLOW_UP_LATEST_NS: i64 = 1_000_000_000;

#[derive(Debug, Default)]
pub(super) struct Judged {
    pub samples: Vec<Sample>,
    pub notes: Vec<String>,
    pub reflector: ReflectorAbilities,
    pub reply_ecn_unknown: u64,
}

/// Which way an unanswered probe was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    Up,
    /// Its reply; sent at about this time of the reflector's clock.
    Down(UnixNanos),
    Unknown,
}

pub(super) fn judge(collected: &Collector, session: SessionId, family: Family, asked: ClassOfServiceTlv) -> Judged {
    let probes = &collected.probes;
    let stateful = is_stateful(probes) || !collected.left_at.is_empty();
    let left_at = reply_send_times(probes, &collected.left_at);
    let losses = losses(probes, stateful);
    let reordered = Reordered::find(probes);
    let maker = SampleMaker { session, family };

    let mut judged = Judged::default();
    let mut rewritten_here = 0u64;
    for (sequence, probe) in (0u32..).zip(probes).filter(|(_, probe)| !probe.failed) {
        let mut sent_flags = SampleFlags::default();
        if probe.sent_kernel.is_none() {
            sent_flags = sent_flags.with(SampleFlags::TX_USER);
        }
        if probe.left_with.is_some_and(|left| left != probe.tos) {
            sent_flags = sent_flags.with(SampleFlags::LOCAL_REWRITE);
            rewritten_here += 1;
        }
        let mut round_trip = maker.sample(Direction::RoundTrip, sequence, probe, sent_flags);
        let Some(reply) = &probe.reply else {
            match losses.get(&sequence) {
                Some(Lost::Up) => judged.samples.push(maker.sample(Direction::Up, sequence, probe, sent_flags)),
                Some(Lost::Down(at)) => {
                    let mut down = maker.sample(Direction::Down, sequence, probe, SampleFlags::TX_USER);
                    down.sent_at = *at;
                    judged.samples.push(down);
                }
                Some(Lost::Unknown) | None => {}
            }
            judged.samples.push(round_trip);
            continue;
        };
        let mark = ReplyMark::of(probe.tos, reply, asked);
        judged.reply_ecn_unknown += u64::from(mark.is_some_and(|mark| !mark.ecn_known));
        judged.reflector.class_of_service |= reply.class_of_service.is_some();
        judged.reflector.reply_ecn |= mark.is_some_and(|mark| mark.ecn_done);
        judged.reflector.direct_measurement |= reply.received_count.is_some();
        judged.reflector.synchronized |= reply.synchronized;

        let mut up = maker.sample(Direction::Up, sequence, probe, sent_flags);
        up.received_at = Some(reply.t2);
        up.tos_received = reply.class_of_service.map(|class| Tos::new(class.received_dscp, class.received_ecn));
        up.ttl = Some(reply.sender_ttl).filter(|ttl| *ttl > 0);
        up.flags = up.flags.with(flag_if(probe.duplicated_up, SampleFlags::DUPLICATED));
        up.flags = up.flags.with(flag_if(reordered.up(sequence), SampleFlags::REORDERED));

        let mut received_flags = flag_if(!reply.t4_kernel, SampleFlags::RX_USER);
        received_flags = received_flags.with(flag_if(probe.duplicated_down, SampleFlags::DUPLICATED));
        received_flags = received_flags.with(flag_if(reordered.down(sequence), SampleFlags::REORDERED));
        let left = left_at.get(&sequence).copied();
        judged.reflector.follow_up |= left.is_some();
        let mut down = maker.sample(
            Direction::Down,
            sequence,
            probe,
            received_flags.with(flag_if(left.is_none(), SampleFlags::TX_USER)),
        );
        down.sent_at = left.unwrap_or(reply.t3);
        down.received_at = Some(reply.t4);
        down.ttl = reply.ttl;
        if let Some(mark) = mark {
            down.tos_sent = mark.sent;
            down.tos_received = reply.tos;
        }

        round_trip.received_at = Some(reply.t4);
        round_trip.ttl = reply.ttl;
        round_trip.flags = round_trip.flags.with(received_flags);
        if mark.is_none() {
            // Whoever does not know the TLV commonly copies the mark it received: both ways at once is all there is to say.
            round_trip.tos_received = reply.tos;
        }
        judged.samples.extend([up, down, round_trip]);
    }
    judged.reflector.stateful = stateful;
    judged.reflector.loss_by_direction = losses.values().any(|lost| *lost != Lost::Unknown);
    judged.notes = notes(&collected.counters, &judged, &losses, asked, rewritten_here);
    judged
}

#[derive(Clone, Copy, Debug)]
struct SampleMaker {
    session: SessionId,
    family: Family,
}

impl SampleMaker {
    /// As if lost.
    fn sample(self, direction: Direction, sequence: u32, probe: &Probe, flags: SampleFlags) -> Sample {
        let headers = match self.family {
            Family::Ipv4 => 28,
            Family::Ipv6 => 48,
        };
        Sample {
            session: self.session,
            sequence,
            kind: Kind::Stamp,
            direction,
            family: self.family,
            tos_sent: probe.tos,
            tos_received: None,
            sent_at: probe.sent_kernel.unwrap_or(probe.sent_user),
            received_at: None,
            ttl: None,
            // A reply is as long as its request.
            size: probe.payload + headers,
            flags,
        }
    }
}

fn flag_if(condition: bool, flag: SampleFlags) -> SampleFlags {
    if condition { flag } else { SampleFlags::default() }
}

/// The mark a reply left the reflector with, as far as its Class of Service TLV tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReplyMark {
    pub sent: Tos,
    /// If not, `sent` has the ECN that arrived.
    pub ecn_known: bool,
    /// The reflector says that it sent the ECN asked for.
    pub ecn_done: bool,
}

impl ReplyMark {
    /// `None`: not known at all.
    pub(super) fn of(requested: Tos, reply: &Reply, asked: ClassOfServiceTlv) -> Option<ReplyMark> {
        let class: ClassOfService = reply.class_of_service?;
        let dscp = match class.reverse_path {
            0 => requested.dscp(),
            // RFC 8972, section 4.4: the reply then has the DSCP that the request arrived with.
            1 => class.received_dscp,
            _ => return None,
        };
        let arrived = reply.tos.map_or(Ecn::NotEct, Tos::ecn);
        let asked_ecn = if asked == ClassOfServiceTlv::Draft { requested.ecn() } else { Ecn::NotEct };
        let (ecn, known, done) = match class.reverse_path_ecn {
            ReversePathEcn::Done => (asked_ecn, true, asked_ecn != Ecn::NotEct),
            ReversePathEcn::Refused => (Ecn::NotEct, true, false),
            // The RFC leaves the reply's ECN open; Not-ECT is what programs send who do not care, so there is nothing odd
            // about seeing it, unless something else was asked for.
            ReversePathEcn::NotSupported | ReversePathEcn::Reserved => {
                (arrived, arrived == Ecn::NotEct && asked_ecn == Ecn::NotEct, false)
            }
        };
        Some(ReplyMark { sent: Tos::new(dscp, ecn), ecn_known: known, ecn_done: done })
    }
}

/// The reflector's sequence is its own: at least once it differs from the probe's.
fn is_stateful(probes: &[Probe]) -> bool {
    (0u32..).zip(probes).any(|(sequence, probe)| probe.reply.is_some_and(|reply| reply.sequence != sequence))
}

/// Kernel transmit times of replies, by the probe's sequence.
fn reply_send_times(probes: &[Probe], left_at: &[LeftAt]) -> BTreeMap<u32, UnixNanos> {
    let by_reply: BTreeMap<u32, (u32, UnixNanos)> = (0u32..)
        .zip(probes)
        .filter_map(|(sequence, probe)| probe.reply.map(|reply| (reply.sequence, (sequence, reply.t3))))
        .collect();
    left_at
        .iter()
        .filter_map(|left| {
            let (sequence, t3) = by_reply.get(&left.sequence)?;
            let later = left.at.since(*t3);
            (FOLLOW_UP_EARLIEST_NS..=FOLLOW_UP_LATEST_NS).contains(&later).then_some((*sequence, left.at))
        })
        .collect()
}

/// Which way each unanswered probe was lost.
///
/// Between two answered probes the reflector's count of received requests (Direct Measurement TLV), or its own sequence if
/// it is stateful, says how many of those between arrived. All or none of them: then it is known of each.
pub(super) fn losses(probes: &[Probe], stateful: bool) -> BTreeMap<u32, Lost> {
    let mut losses = BTreeMap::new();
    // The session is new to the reflector: before the first reply it had received nothing.
    let mut before: Option<(u32, &Probe, Reply)> = None;
    let mut between: Vec<u32> = Vec::new();
    for (sequence, probe) in (0u32..).zip(probes).filter(|(_, probe)| !probe.failed) {
        let Some(reply) = probe.reply else {
            between.push(sequence);
            continue;
        };
        if !between.is_empty() {
            let arrived = arrived_between(before.map(|(_, _, reply)| reply), reply, stateful);
            let count = between.len() as u32;
            for lost in between.drain(..) {
                let fate = match (arrived, before) {
                    (Some(0), _) => Lost::Up,
                    (Some(arrived), Some((_, earlier, answer))) if arrived == count => {
                        let gap = probes.get(lost as usize).map_or(0, |p| p.sent_user.since(earlier.sent_user));
                        Lost::Down(answer.t3.plus(gap))
                    }
                    (Some(arrived), None) if arrived == count => {
                        let gap = probes.get(lost as usize).map_or(0, |p| probe.sent_user.since(p.sent_user));
                        Lost::Down(reply.t3.plus(-gap))
                    }
                    _ => Lost::Unknown,
                };
                losses.insert(lost, fate);
            }
        }
        before = Some((sequence, probe, reply));
    }
    losses.extend(between.into_iter().map(|sequence| (sequence, Lost::Unknown)));
    losses
}

/// How many requests the reflector received between those of two replies; `None` if it does not tell, or they were
/// overtaken.
fn arrived_between(before: Option<Reply>, after: Reply, stateful: bool) -> Option<u32> {
    let counts = match (before.map(|reply| reply.received_count), after.received_count) {
        (None, Some(after)) => Some((0, after)),
        (Some(Some(before)), Some(after)) => Some((before, after)),
        _ => None,
    };
    // Its own sequence counts replies from 0.
    let sequences = || Some((before.map_or(0, |reply| reply.sequence.wrapping_add(1)), after.sequence.wrapping_add(1)));
    let (before, after) = counts.or_else(|| sequences().filter(|_| stateful))?;
    after.checked_sub(before)?.checked_sub(1)
}

/// Packets that arrived after one that was sent later (RFC 4737).
#[derive(Debug, Default)]
struct Reordered {
    up: Vec<u32>,
    down: Vec<u32>,
}

impl Reordered {
    fn find(probes: &[Probe]) -> Reordered {
        let mut replies: Vec<(u32, Reply)> =
            (0u32..).zip(probes).filter_map(|(sequence, probe)| Some((sequence, probe.reply?))).collect();
        replies.sort_by_key(|(sequence, reply)| (reply.t2, *sequence));
        let up = overtaken(replies.iter().map(|(sequence, _)| (*sequence, i64::from(*sequence))));
        replies.sort_by_key(|(_, reply)| reply.order);
        let down = overtaken(replies.iter().map(|(sequence, reply)| (*sequence, reply.t3.0)));
        Reordered { up, down }
    }

    fn up(&self, sequence: u32) -> bool {
        self.up.binary_search(&sequence).is_ok()
    }

    fn down(&self, sequence: u32) -> bool {
        self.down.binary_search(&sequence).is_ok()
    }
}

/// In order of arrival, with what grows in order of sending; the answer is sorted.
fn overtaken(arrivals: impl Iterator<Item = (u32, i64)>) -> Vec<u32> {
    let mut newest = i64::MIN;
    let mut overtaken: Vec<u32> = arrivals
        .filter(|(_, sent)| {
            let late = *sent < newest;
            newest = newest.max(*sent);
            late
        })
        .map(|(sequence, _)| sequence)
        .collect();
    overtaken.sort_unstable();
    overtaken
}

fn notes(
    counters: &StampCounters,
    judged: &Judged,
    losses: &BTreeMap<u32, Lost>,
    asked: ClassOfServiceTlv,
    rewritten_here: u64,
) -> Vec<String> {
    let mut notes = Vec::new();
    let mut say = |text: String| notes.push(text);
    let StampCounters { sent, answered, .. } = *counters;
    let reflector = judged.reflector;
    if sent > 0 && answered == 0 {
        say(nothing_came(counters));
        return notes;
    }
    let count = |wanted: fn(&Lost) -> bool| losses.values().filter(|lost| wanted(lost)).count();
    if !losses.is_empty() {
        let (up, down) = (count(|lost| *lost == Lost::Up), count(|lost| matches!(lost, Lost::Down(_))));
        let unknown = count(|lost| *lost == Lost::Unknown);
        say(format!(
            "{} of {sent} probes were not answered: {up} lost on the way to the reflector, {down} on the way back, {unknown} where is not known",
            losses.len()
        ));
    }
    match asked {
        ClassOfServiceTlv::Off => say("marks were not asked for (no Class of Service TLV): only what comes back is known".to_owned()),
        _ if !reflector.class_of_service => say(
            "the reflector does not know the Class of Service TLV: which mark it received and sent is not known, only what came back".to_owned(),
        ),
        _ if counters.class_of_service_unsupported > 0 => {
            say(format!("{} replies came without an answer to the Class of Service TLV", counters.class_of_service_unsupported));
        }
        _ => {}
    }
    if counters.dscp_refused > 0 {
        say(format!(
            "the reflector refused to send {} replies with the DSCP asked for; it used the one it had received",
            counters.dscp_refused
        ));
    }
    if counters.ecn_refused > 0 {
        say(format!(
            "the reflector refused to send {} replies with the ECN asked for; it sent Not-ECT",
            counters.ecn_refused
        ));
    }
    if judged.reply_ecn_unknown > 0 {
        say(format!(
            "which ECN {} replies were sent with is not known: the reflector does not say it",
            judged.reply_ecn_unknown
        ));
    }
    if ecn_only_bleached(&judged.samples) {
        say("the reflector reports Not-ECT for every probe; one that follows RFC 8972 without its erratum 8199 would do so whatever arrived".to_owned());
    }
    if !reflector.follow_up && answered > 0 {
        say("when replies really left is not known (no Follow-Up Telemetry): delays on the way back include the reflector's own send delay, tens of microseconds".to_owned());
    }
    if counters.integrity_failed > 0 {
        say(format!(
            "the TLVs of {} replies failed their integrity check and were not used",
            counters.integrity_failed
        ));
    }
    if counters.unauthenticated > 0 {
        say(format!("{} packets were not authentic: another key, or forged", counters.unauthenticated));
    }
    if rewritten_here > 0 {
        say(format!(
            "{rewritten_here} probes left this host with another mark than asked for: a rule on this host rewrites it"
        ));
    }
    if counters.receive_dropped > 0 {
        say(format!("{} replies were dropped on this host because it was too slow", counters.receive_dropped));
    }
    notes
}

fn nothing_came(counters: &StampCounters) -> String {
    let StampCounters { unreachable, unauthenticated, malformed, .. } = *counters;
    if unauthenticated > 0 {
        format!("no valid reply: {unauthenticated} came with a wrong HMAC, so the reflector has another key")
    } else if malformed > 0 {
        format!(
            "no valid reply: {malformed} packets came that are no replies in this mode; does the reflector want a key, or none?"
        )
    } else if unreachable > 0 {
        format!("no reply, but {unreachable} ICMP errors: no reflector listens there, or a filter rejects the packets")
    } else {
        "no reply: no reflector listens there, it wants a key or another key, or packets are lost; a very old one may drop TLVs".to_owned()
    }
}

/// ECN was sent, marks came through, and not one ECN did.
fn ecn_only_bleached(samples: &[Sample]) -> bool {
    let mut sent = samples
        .iter()
        .filter(|sample| sample.direction == Direction::Up && sample.tos_sent.ecn() != Ecn::NotEct)
        .filter_map(|sample| sample.tos_received)
        .peekable();
    sent.peek().is_some() && sent.all(|received| received.ecn() == Ecn::NotEct)
}
