//! Does the path tell classes of traffic apart, and how? Randomise, do not model: each pair holds a subject and a control in
//! the order of a fair coin, so whatever the network does to all packets alike (bursts, route changes, clocks) exchanges the
//! labels freely, and only differences by class add up (facts: e-processes of Ville's kind, confidence sequences).

pub mod bulk;
pub mod campaign;
pub mod combine;
pub mod confidence;
pub mod contest;
pub mod evidence;
pub mod hop;
pub mod judge;
pub mod limit;
pub mod monitor;
pub mod plan;

/// One probe of an experiment in one direction, settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    pub sequence: u32,
    /// On the sender's clock.
    pub sent_ns: i64,
    /// On the receiver's clock; `None`: lost.
    pub received_ns: Option<i64>,
    pub tos_sent: wire::Tos,
    pub tos_received: Option<wire::Tos>,
    /// Layer 3.
    pub size: u16,
}

impl From<&model::Sample> for Observed {
    fn from(sample: &model::Sample) -> Observed {
        Observed {
            sequence: sample.sequence,
            sent_ns: sample.sent_at.0,
            // What TCP sent again was lost.
            received_ns: sample
                .received_at
                .filter(|_| !sample.flags.has(model::SampleFlags::RETRANSMITTED))
                .map(|at| at.0),
            tos_sent: sample.tos_sent,
            tos_received: sample.tos_received,
            size: sample.size,
        }
    }
}
