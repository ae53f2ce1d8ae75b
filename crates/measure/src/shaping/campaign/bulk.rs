//! How much of a run goes into TCP transfers: pairs of them, as large as budget and time allow, or none and why.

use model::shaping::{Arm, BulkDesign, Hypothesis, Payload, Ports, Purpose};

use super::Ask;
use crate::shaping::bulk::least_pairs;

/// Shares of budget and time that are set aside where kinds on TCP are asked for.
const SHARE: f64 = 0.4;
const TIME: f64 = 0.3;
/// A transfer is a number of full TLS records, so that it ends with one.
const RECORD: u32 = wire::bulk::RECORD_LEN as u32;
/// Shorter transfers are over before slow start is.
const LEAST_RECORDS: u32 = 4;
/// From here on more pairs are worth more than larger transfers.
const GOOD_RECORDS: u32 = 8;
const MOST_RECORDS: u32 = 256;
/// Pairs beyond those that name a difference if all agree: a few will not.
const SPARE_PAIRS: u32 = 3;
const MOST_PAIRS: u32 = 60;
/// Headers, acknowledgements and what is sent again, for each byte of a stream.
const WIRE: f64 = 1.25;
/// Handshake, opening, closing, and what is uploaded of one transfer.
const EACH_BYTES: f64 = 4_500.0;
/// Bounds of a transfer's time.
const MOST_MS: (f64, f64) = (300.0, 5_000.0);
/// What a transfer takes besides.
const SETUP_S: f64 = 0.02;

/// A session of transfers, and what it may cost.
#[derive(Clone, Debug, PartialEq)]
pub struct BulkSession {
    pub design: BulkDesign,
    /// Both ways, everything that the transfers cause.
    pub bytes: u64,
    pub seconds: f64,
}

impl Ask {
    /// What transfers compare: kinds with random bytes, and marks and ports on TCP; empty where no kind on TCP is asked for.
    pub fn bulk_hypotheses(&self) -> Vec<Hypothesis> {
        if !self.transfers || !self.payloads.iter().any(|payload| payload.is_stream()) {
            return Vec::new();
        }
        let control = Arm { dscp: wire::Dscp::default(), port: self.tcp_port, payload: Payload::RandomStream };
        let kinds = self.payloads.iter().filter(|payload| payload.is_stream() && **payload != control.payload);
        let kinds = kinds.map(|payload| Arm { payload: *payload, ..control });
        let marks = self.dscp.iter().filter(|dscp| dscp.get() != 0).map(|dscp| Arm { dscp: *dscp, ..control });
        let ports = self.ports.iter().filter(|port| **port != self.tcp_port && **port != self.dns_port);
        let ports = ports.map(|port| Arm { port: *port, ..control });
        let (ports_of, purpose) = (Ports::Fresh, Purpose::Difference);
        let difference = |subject| Hypothesis { subject, control, ports: ports_of, purpose };
        kinds.chain(marks).chain(ports).map(difference).collect()
    }

    fn directions(&self) -> u32 {
        u32::from(self.direction.up()) + u32::from(self.direction.down())
    }

    /// Comparisons of transfers that share the error rate; 0 where there will be none.
    pub(super) fn bulk_count(&self) -> u32 {
        self.transfers().0.map_or(0, |session| session.design.hypotheses.len() as u32 * self.directions())
    }

    /// The session of transfers, of as many comparisons as budget and time allow, in the order in which they are asked; and in words
    /// what they do not allow.
    pub fn transfers(&self) -> (Option<BulkSession>, Option<String>) {
        let all = self.bulk_hypotheses();
        let session = (1..=all.len()).rev().find_map(|count| self.bulk(all.get(..count)?));
        let kept = session.as_ref().map_or(0, |session| session.design.hypotheses.len());
        let left_out = all.get(kept..).unwrap_or_default();
        (session, (!left_out.is_empty()).then(|| self.too_little(&all, left_out)))
    }

    fn too_little(&self, all: &[Hypothesis], left_out: &[Hypothesis]) -> String {
        let cells = f64::from(all.len() as u32 * self.directions());
        let pairs = f64::from(self.least_pairs(all.len()));
        let bytes = 2.0 * cells * pairs * (f64::from(LEAST_RECORDS * RECORD) * WIRE + EACH_BYTES) / SHARE;
        let seconds = cells * pairs * (MOST_MS.0 / 1e3 + 2.0 * SETUP_S) / TIME;
        let what = |hypothesis: &Hypothesis| match hypothesis.subject {
            Arm { dscp, .. } if dscp.get() != 0 => format!("DSCP {}", dscp.get()),
            Arm { port, .. } if port != self.tcp_port => format!("port {port}"),
            Arm { payload, .. } => payload.name().to_owned(),
        };
        let names: Vec<String> = left_out.iter().map(what).collect();
        format!(
            "TCP throughput of {}: budget or time are too little; all that is asked takes a budget of {:.0} MB and {:.0} s",
            names.join(", "),
            (bytes / 1e6 + 1.0).ceil(),
            (seconds + 1.0).ceil()
        )
    }

    /// Pairs that name a difference if nearly all agree, where so many hypotheses are of transfers.
    fn least_pairs(&self, transfers: usize) -> u32 {
        let (datagrams, streams) = self.hypotheses();
        let all = (datagrams.len() + streams.len() + transfers) as u32 * self.directions();
        least_pairs((f64::from(all.max(1)) / self.alpha.clamp(1e-12, 1.0)).log10()) + SPARE_PAIRS
    }

    fn bulk(&self, hypotheses: &[Hypothesis]) -> Option<BulkSession> {
        let cells = f64::from(hypotheses.len() as u32 * self.directions());
        let least = self.least_pairs(hypotheses.len());
        let budget = self.budget_bytes as f64 * SHARE;
        let records = |pairs: u32| {
            let each = budget / (2.0 * cells * f64::from(pairs)) - EACH_BYTES;
            ((each / WIRE / f64::from(RECORD)).floor().max(0.0) as u32).min(MOST_RECORDS)
        };
        // First half as many pairs again as can name anything, since a few will not agree; then as many as leave transfers of a good size.
        let most = |to: u32, size: u32| (least..=to).rev().find(|pairs| records(*pairs) >= size);
        let enough = most(least + least / 2, LEAST_RECORDS);
        let pairs = enough.max(most(MOST_PAIRS, GOOD_RECORDS)).unwrap_or(least);
        let records = records(pairs);
        let seconds = self.seconds * TIME;
        // Where the subject is throttled its control is not, mostly; the run ends in time whatever happens.
        let most_ms = (seconds / (cells * f64::from(least)) - 2.0 * SETUP_S) * 1e3;
        if records < LEAST_RECORDS || most_ms < MOST_MS.0 {
            return None;
        }
        let most_ms = most_ms.min(MOST_MS.1) as u32;
        let design = BulkDesign { hypotheses: hypotheses.to_vec(), bytes: records * RECORD, rounds: pairs, most_ms };
        let transfers = 2.0 * cells * f64::from(pairs);
        let bytes = (transfers * (f64::from(design.bytes) * WIRE + EACH_BYTES)) as u64;
        Some(BulkSession { design, bytes, seconds })
    }
}

/// Bytes on the wire that one transfer caused, as far as this end can know.
pub fn transfer_cost(stream_bytes: u64, retransmits: u32) -> u64 {
    (stream_bytes as f64 * (1.0 + WIRE) / 2.0 + EACH_BYTES) as u64 + u64::from(retransmits) * 1_500
}

/// What the next transfer may cost at most.
pub fn transfer_bound(design: &BulkDesign) -> u64 {
    (f64::from(design.bytes) * WIRE + EACH_BYTES) as u64
}
