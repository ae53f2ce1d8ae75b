//! `netlat report`: reads a data directory, also while its server runs.

use crate::Outcome;
use crate::cli::ReportArgs;
use crate::config::{Config, data_dir};

pub fn run(args: ReportArgs, config: &Config) -> anyhow::Result<Outcome> {
    let dir = data_dir(args.data_dir, config.server.data_dir.as_ref(), "server")?;
    let now = net::Clock::identity().now();
    let since = super::parse_since(&args.since, now)?;
    let mut report = server::report::build(&dir, args.worker.as_ref(), Some(since), now)?;
    for media in &mut report.media {
        media.city = discord::media::city(&media.host);
    }
    super::show(&report, args.json, args.fail_on_finding, args.explain)
}
