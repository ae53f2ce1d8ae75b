//! `netlat export`: samples as Parquet, CSV or JSON lines.

use std::path::Path;

use anyhow::{Context, anyhow};
use store::{ExportFormat, Reader, SampleQuery};

use crate::Outcome;
use crate::cli::{ExportArgs, Format};
use crate::config::{Config, data_dir};

pub fn run(args: ExportArgs, config: &Config) -> anyhow::Result<Outcome> {
    let dir = data_dir(args.data_dir, config.server.data_dir.as_ref(), "server")?;
    let since = match &args.since {
        Some(since) => Some(super::parse_since(since, net::Clock::identity().now())?),
        None => None,
    };
    let reader = Reader::open(&dir)?;
    let query = SampleQuery { worker: args.worker, since, ..SampleQuery::default() };
    let format = match args.format {
        Format::Parquet => ExportFormat::Parquet,
        Format::Csv => ExportFormat::Csv,
        Format::Jsonl => ExportFormat::Jsonl,
    };
    let rows = if args.out == Path::new("-") {
        if format == ExportFormat::Parquet {
            return Err(crate::usage::mistake(anyhow!("Parquet needs a file: give --out FILE")));
        }
        reader.export_to(format, &query, &mut std::io::stdout()).context("cannot write to stdout")?
    } else {
        reader.export(format, &query, &args.out)?
    };
    eprintln!("{rows} samples written to {}", args.out.display());
    Ok(Outcome::Done)
}
