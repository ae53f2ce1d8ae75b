//! The report's paths, built from the samples of one worker.

use model::control::SessionInfo;
use model::report::Path;
use model::{Sample, SessionId, WorkerName};

use crate::remarking::RemarkingConfig;

/// Why a source could not deliver its samples; passed through as it came.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Samples of one worker, in any order.
pub trait SampleSource {
    /// Calls `f` with every sample. Called twice for one report, and both times with the same samples.
    fn visit(&self, f: &mut dyn FnMut(&Sample)) -> Result<(), SourceError>;
}

impl SampleSource for [Sample] {
    fn visit(&self, f: &mut dyn FnMut(&Sample)) -> Result<(), SourceError> {
        self.iter().for_each(f);
        Ok(())
    }
}

impl SampleSource for Vec<Sample> {
    fn visit(&self, f: &mut dyn FnMut(&Sample)) -> Result<(), SourceError> {
        self.as_slice().visit(f)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct ReportConfig {
    pub remarking: RemarkingConfig,
    /// Share of a kind's received samples flagged `INTERCEPTED` from which on the kind counts as intercepted, 0..=1.
    pub intercepted_share: f64,
}

impl Default for ReportConfig {
    fn default() -> ReportConfig {
        ReportConfig { remarking: RemarkingConfig::default(), intercepted_share: 0.1 }
    }
}

pub fn build_paths(
    _worker: &WorkerName,
    _source: &dyn SampleSource,
    _info: &dyn Fn(SessionId) -> Option<SessionInfo>,
    _config: &ReportConfig,
) -> Result<Vec<Path>, SourceError> {
    todo!()
}
