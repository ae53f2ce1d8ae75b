//! What happened to the marks: names for what the network did to DSCP and ECN, from counts alone.

use model::report::{DscpCount, EcnCount, EcnFinding, Pathology};
use model::{Kind, Tos};

/// How often each mark was sent, lost, and received as which mark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarkCounts {}

impl MarkCounts {
    pub fn new() -> MarkCounts {
        MarkCounts::default()
    }
    /// One probe was sent with `sent` and never arrived.
    pub fn lost(&mut self, _sent: Tos) {
        todo!()
    }
    /// One probe was sent with `sent` and arrived; `None` where the receiving socket does not show the mark.
    pub fn received(&mut self, _sent: Tos, _received: Option<Tos>) {
        todo!()
    }
    pub fn merge(&mut self, _other: &MarkCounts) {
        todo!()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct RemarkingConfig {
    /// A class with fewer received marks is no evidence.
    pub min_per_class: u64,
}

impl Default for RemarkingConfig {
    fn default() -> RemarkingConfig {
        RemarkingConfig { min_per_class: 5 }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub pathology: Pathology,
    pub map: Vec<DscpCount>,
    pub ecn: EcnFinding,
    pub ecn_map: Vec<EcnCount>,
    pub reason: Option<String>,
}

pub fn judge(_kind: Kind, _counts: &MarkCounts, _config: &RemarkingConfig) -> Judgement {
    todo!()
}
