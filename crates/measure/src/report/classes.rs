//! Statistics of one class: one kind with one mark on one path.

use model::report::Class;
use model::{Direction, Kind, Sample, SampleFlags, Tos, UnixNanos};

use super::pairs::Clocks;
use crate::delay::{ipdv_ms, quantiles_ms};

#[derive(Clone, Copy)]
struct Row {
    session: u32,
    sequence: u32,
    sent: UnixNanos,
    received: Option<UnixNanos>,
    reordered: bool,
}

/// What the second pass keeps of a class.
#[derive(Default)]
pub(super) struct ClassRows {
    rows: Vec<Row>,
    duplicated: u64,
    refused: u64,
    /// Received samples with a user-space time at either end.
    user_time: u64,
}

impl ClassRows {
    pub(super) fn add(&mut self, sample: &Sample) {
        let received = sample.received_at.is_some();
        self.rows.push(Row {
            session: sample.session.0,
            sequence: sample.sequence,
            sent: sample.sent_at,
            received: sample.received_at,
            reordered: sample.flags.has(SampleFlags::REORDERED),
        });
        let flag = |flag| u64::from(sample.flags.has(flag));
        self.duplicated += flag(SampleFlags::DUPLICATED);
        if received {
            self.user_time += flag(SampleFlags::TX_USER) | flag(SampleFlags::RX_USER);
        } else {
            self.refused += flag(SampleFlags::REFUSED);
        }
    }

    pub(super) fn finish(
        mut self,
        kind: Kind,
        tos: Tos,
        direction: Direction,
        clocks: &Clocks,
        mut round_trips: Vec<f64>,
    ) -> Class {
        let order = |row: &Row| (row.session, row.sequence);
        if !self.rows.is_sorted_by_key(order) {
            self.rows.sort_unstable_by_key(order);
        }
        let sent = self.rows.len() as u64;
        let received = self.rows.iter().filter(|row| row.received.is_some()).count() as u64;
        let mut reasons: Vec<String> = Vec::new();

        let mut delays: Vec<f64> = Vec::new();
        let mut variations: Vec<f64> = Vec::new();
        let mut uncertainty: Option<f64> = None;
        let mut ambiguous = 0u64;
        if direction == Direction::RoundTrip {
            let elapsed = |row: &Row| Some(row.received?.since(row.sent) as f64);
            round_trips.extend(self.rows.iter().filter_map(elapsed).filter(|ns| *ns >= 0.0));
            reasons.push(format!("{kind} is measured as a round trip only"));
        } else {
            // Value of the row before, if it was received in the same session: with a clock its delay, else its transit.
            let mut before: Option<(u32, f64)> = None;
            for row in &self.rows {
                let Some(at) = row.received else {
                    before = None;
                    continue;
                };
                let delay = clocks.delay(direction, row.sent, at);
                let value = match delay {
                    Some(delay) if delay.ambiguous => {
                        ambiguous += 1;
                        before = None;
                        continue;
                    }
                    Some(delay) => {
                        delays.push(delay.ns);
                        uncertainty = Some(uncertainty.unwrap_or(0.0).max(delay.uncertainty_ns));
                        delay.ns
                    }
                    None => at.since(row.sent) as f64,
                };
                if let Some((session, earlier)) = before
                    && session == row.session
                {
                    variations.push(value - earlier);
                }
                before = Some((row.session, value));
            }
            if received == 0 {
                reasons.push("nothing arrived".to_owned());
            } else if delays.is_empty() && ambiguous == 0 {
                reasons.push("no one-way delay: no two-way exchanges to compare the clocks with".to_owned());
            } else if variations.is_empty() {
                reasons.push("no delay variation: no two successive packets arrived".to_owned());
            }
            if received > 0 && round_trips.is_empty() {
                reasons.push("no round trip: not measured in both directions".to_owned());
            }
        }
        if ambiguous > 0 {
            reasons
                .push(format!("{ambiguous} delays left out: a clock was stepped about then and they fit both sides"));
        }
        if self.user_time > 0 {
            let share = format!("{} of {received}", self.user_time);
            reasons.push(format!("user-space time on {share}: their delays include the hosts' scheduling delay"));
        }
        if self.refused > 0 {
            reasons.push(format!("{} refused or reset, counted as lost", self.refused));
        }
        Class {
            kind,
            dscp: tos.dscp().get(),
            ecn: tos.ecn().bits(),
            sent,
            received,
            lost: sent - received,
            duplicated: self.duplicated,
            reordered: self.reordered(),
            owd_ms: quantiles_ms(&mut delays),
            owd_uncertainty_ms: uncertainty.map(|ns| ns / 1e6),
            ipdv_ms: ipdv_ms(&mut variations),
            rtt_ms: quantiles_ms(&mut round_trips),
            reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
        }
    }

    /// Packets that arrived after a later one of their own class (RFC 4737 on the class's own packets). A class that is
    /// overtaken by another one is delayed, not reordered. The flag is the stream's, by order of arrival; so a stepped
    /// clock does not make packets look reordered.
    fn reordered(&self) -> u64 {
        let mut earliest: Option<(u32, UnixNanos)> = None;
        let mut count = 0;
        for row in self.rows.iter().rev() {
            let Some(at) = row.received else { continue };
            match &mut earliest {
                Some((session, first)) if *session == row.session => {
                    count += u64::from(row.reordered && at > *first);
                    *first = (*first).min(at);
                }
                _ => earliest = Some((row.session, at)),
            }
        }
        count
    }
}
