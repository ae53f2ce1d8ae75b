//! One traffic class of one kind: counts, delays, variation.

use model::report::Class;
use model::{Direction, Kind, Sample, SampleFlags, SessionId, Tos};

use crate::clock::ClockModel;
use crate::delay::{ipdv_ms, quantiles_ms};

#[derive(Debug, Default)]
pub(super) struct ClassBuilder {
    sent: u64,
    received: u64,
    duplicated: u64,
    reordered: u64,
    user_time: u64,
    delays: Vec<f64>,
    uncertainty: f64,
    round_trips: Vec<f64>,
    /// Session, sequence, and transit time by the two clocks as they are; `None` of a lost packet.
    transits: Vec<(SessionId, u32, Option<i64>)>,
}

impl ClassBuilder {
    pub(super) fn add(&mut self, sample: &Sample, clock: Option<&ClockModel>, round_trip: Option<i64>) {
        self.sent += 1;
        self.transits.push((
            sample.session,
            sample.sequence,
            sample.received_at.map(|received| received.since(sample.sent_at)),
        ));
        let Some(received) = sample.received_at else { return };
        self.received += 1;
        self.duplicated += u64::from(sample.flags.has(SampleFlags::DUPLICATED));
        self.reordered += u64::from(sample.flags.has(SampleFlags::REORDERED));
        let user = sample.flags.has(SampleFlags::TX_USER) || sample.flags.has(SampleFlags::RX_USER);
        self.user_time += u64::from(user);
        self.round_trips.extend(round_trip.map(|ns| ns as f64));
        let delay = clock.and_then(|clock| match sample.direction {
            Direction::Up => clock.owd_up(sample.sent_at, received),
            Direction::Down => clock.owd_down(sample.sent_at, received),
            Direction::RoundTrip => None,
        });
        if let Some(delay) = delay {
            self.delays.push(delay.ns);
            self.uncertainty = self.uncertainty.max(delay.uncertainty_ns);
        }
    }

    pub(super) fn finish(mut self, kind: Kind, tos: Tos, direction: Direction) -> Class {
        let mut reasons = Vec::new();
        if self.received == 0 {
            reasons.push("nothing was received".to_owned());
        } else if direction == Direction::RoundTrip {
            reasons.push("only the round trip can be measured".to_owned());
        } else if self.delays.is_empty() {
            reasons.push("no exchange with kernel times both ways, so the clocks cannot be compared".to_owned());
        }
        if self.user_time > 0 {
            let text = format!("{} of {} delays rest on user-space times, which are late", self.user_time, self.received);
            reasons.push(text);
        }
        let delay = quantiles_ms(&mut self.delays);
        Class {
            kind,
            dscp: tos.dscp().get(),
            ecn: tos.ecn().bits(),
            sent: self.sent,
            received: self.received,
            lost: self.sent - self.received,
            duplicated: self.duplicated,
            reordered: self.reordered,
            owd_uncertainty_ms: delay.map(|_| self.uncertainty / 1e6),
            owd_ms: delay,
            ipdv_ms: ipdv_ms(&mut self.variations()),
            rtt_ms: quantiles_ms(&mut self.round_trips),
            reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
        }
    }

    /// Differences of transit times of packets that follow each other in the class, both received (RFC 3393). The clocks'
    /// offset cancels; a step between the two packets shows as one outlier.
    fn variations(&mut self) -> Vec<f64> {
        self.transits.sort_unstable_by_key(|(session, sequence, _)| (*session, *sequence));
        let difference = |pair: &[(SessionId, u32, Option<i64>)]| match pair {
            [(one, _, Some(first)), (other, _, Some(second))] if one == other => {
                Some(second.saturating_sub(*first) as f64)
            }
            _ => None,
        };
        self.transits.windows(2).filter_map(difference).collect()
    }
}
