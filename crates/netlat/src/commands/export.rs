//! `netlat export`: samples or records as Parquet, CSV or JSON lines.

use std::path::Path;

use anyhow::{Context, anyhow};
use store::{ExportFormat, Reader, RecordQuery, SampleQuery};

use crate::Outcome;
use crate::cli::{Dataset, ExportArgs, Format};
use crate::config::{Config, data_dir};

pub fn run(args: ExportArgs, config: &Config) -> anyhow::Result<Outcome> {
    let dir = match (args.dataset, &args.data_dir) {
        (Dataset::Discord, None) => discord_dir(config)?,
        _ => data_dir(args.data_dir.clone(), config.server.data_dir.as_ref(), "server")?,
    };
    let since = match &args.since {
        Some(since) => Some(super::parse_since(since, net::Clock::identity().now())?),
        None => None,
    };
    let reader = Reader::open(&dir)?;
    let format = match args.format {
        Format::Parquet => ExportFormat::Parquet,
        Format::Csv => ExportFormat::Csv,
        Format::Jsonl => ExportFormat::Jsonl,
    };
    let to_stdout = args.out == Path::new("-");
    if to_stdout && format == ExportFormat::Parquet {
        return Err(crate::usage::mistake(anyhow!("Parquet needs a file: give --out FILE")));
    }
    let (rows, what) = match args.dataset {
        Dataset::Samples => {
            let query = SampleQuery { worker: args.worker, since, ..SampleQuery::default() };
            let rows = if to_stdout {
                reader.export_to(format, &query, &mut std::io::stdout()).context("cannot write to stdout")?
            } else {
                reader.export(format, &query, &args.out)?
            };
            (rows, "samples")
        }
        Dataset::Discord => {
            let since_us = since.map(model::record::micros);
            let query = RecordQuery { worker: args.worker, since_us, ..RecordQuery::default() };
            let rows = if to_stdout {
                reader.export_records_to(format, &query, &mut std::io::stdout()).context("cannot write to stdout")?
            } else {
                reader.export_records(format, &query, &args.out)?
            };
            (rows, "records")
        }
    };
    eprintln!("{rows} {what} written to {}", args.out.display());
    Ok(Outcome::Done)
}

/// The server's data directory, or the server bot's own where there is only that.
fn discord_dir(config: &Config) -> anyhow::Result<std::path::PathBuf> {
    let server = data_dir(None, config.server.data_dir.as_ref(), "server")?;
    let own = data_dir(None, None, super::bot::STANDALONE)?;
    Ok(if !server.join("netlat.db").exists() && own.join("netlat.db").exists() { own } else { server })
}
