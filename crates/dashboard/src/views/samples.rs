//! `/samples`: the samples of one city as they are, as a file.

use std::io;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use store::{ExportFormat, Reader, SampleQuery};

use crate::Dashboard;
use crate::access::Viewer;
use crate::answer::{Ask, Refusal};
use crate::range::{Asked, Range, worker};

/// The longest file that is handed out in one piece, and the longest window that is looked through for it.
const LONGEST: usize = 64 << 20;
const WINDOW_S: i64 = 86_400;

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Parquet,
    Csv,
    Jsonl,
}

#[derive(Deserialize)]
pub(crate) struct Of {
    worker: String,
    format: Format,
}

pub(crate) async fn samples(
    State(dashboard): State<Dashboard>,
    _: Viewer,
    Ask(asked): Ask<Asked>,
    Ask(of): Ask<Of>,
) -> Result<Response, Refusal> {
    let range = Range::new(asked, dashboard.0.parts.clock.now())?;
    if range.until - range.since > WINDOW_S + range.step_s {
        return Err(Refusal::bad("samples are handed out of a day at most: ask for less, or use `netlat export`"));
    }
    let query = SampleQuery {
        worker: Some(worker(&of.worker)?),
        since: Some(range.since_ns()),
        until: Some(range.until_ns()),
        ..SampleQuery::default()
    };
    let format = of.format;
    let bytes = dashboard.read(move |reader| file(reader, format, &query)).await?;
    let (kind, ending) = match format {
        Format::Parquet => ("application/vnd.apache.parquet", "parquet"),
        Format::Csv => ("text/csv; charset=utf-8", "csv"),
        Format::Jsonl => ("application/x-ndjson", "jsonl"),
    };
    let name = format!("attachment; filename=\"{}-{}.{ending}\"", of.worker, range.since);
    Ok(([(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, name)], bytes).into_response())
}

fn file(reader: &Reader, format: Format, query: &SampleQuery) -> Result<Vec<u8>, Refusal> {
    let too_long = || {
        let message = "that is more than 64 MiB: ask for less, or use `netlat export` on the server";
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_long", message)
    };
    let no_room = |error: io::Error| {
        tracing::warn!(%error, "cannot write a file for a download");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the server has no room for this file now")
    };
    let format = match format {
        Format::Csv => ExportFormat::Csv,
        Format::Jsonl => ExportFormat::Jsonl,
        // Its index comes last and points back, so it needs a file.
        Format::Parquet => {
            let dir = tempfile::tempdir().map_err(no_room)?;
            let path = dir.path().join("samples.parquet");
            reader.export(ExportFormat::Parquet, query, &path)?;
            let fits = std::fs::metadata(&path).map_err(no_room)?.len() <= LONGEST as u64;
            return if fits { std::fs::read(&path).map_err(no_room) } else { Err(too_long()) };
        }
    };
    let mut out = Bounded(Vec::new());
    match reader.export_to(format, query, &mut out) {
        Ok(_) => Ok(out.0),
        Err(_) if out.0.len() >= LONGEST => Err(too_long()),
        Err(error) => Err(error.into()),
    }
}

/// Refuses what goes beyond [`LONGEST`].
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(LONGEST - self.0.len());
        self.0.extend_from_slice(&bytes[..taken]);
        if taken < bytes.len() { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
