//! Records for other programs: one file of Parquet, CSV or JSON lines. The same records give the same bytes, whichever way
//! and in which order they came.

use std::io::{BufWriter, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use model::Record;
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde::Serialize;

use crate::directory::Aside;
use crate::error::StoreError;
use crate::export::ExportFormat;
use crate::reader::Reader;
use crate::records::{RecordQuery, joined};
use crate::segment::{ROW_GROUP_ROWS, optional, required};

/// In this order in every format.
const COLUMNS: [&str; 22] = [
    "worker",
    "boot",
    "counter",
    "library",
    "language",
    "version",
    "metric",
    "at_us",
    "sent_us",
    "received_us",
    "app_us",
    "library_us",
    "network_us",
    "connect_us",
    "udp_us",
    "wait_us",
    "target",
    "flags",
    "dns_us",
    "icmp_us",
    "resolver",
    "addresses",
];

const SCHEMA: &str = "message record {
    REQUIRED BYTE_ARRAY worker (STRING);
    REQUIRED BYTE_ARRAY boot (STRING);
    REQUIRED INT64 counter;
    REQUIRED BYTE_ARRAY library (STRING);
    REQUIRED BYTE_ARRAY language (STRING);
    REQUIRED BYTE_ARRAY version (STRING);
    REQUIRED BYTE_ARRAY metric (STRING);
    REQUIRED INT64 at_us (TIMESTAMP(MICROS, true));
    OPTIONAL INT64 sent_us (TIMESTAMP(MICROS, true));
    OPTIONAL INT64 received_us (TIMESTAMP(MICROS, true));
    OPTIONAL INT64 app_us;
    OPTIONAL INT64 library_us;
    OPTIONAL INT64 network_us;
    OPTIONAL INT64 connect_us;
    OPTIONAL INT64 udp_us;
    REQUIRED INT64 wait_us;
    REQUIRED BYTE_ARRAY target (STRING);
    REQUIRED BYTE_ARRAY flags (STRING);
    OPTIONAL INT64 dns_us;
    OPTIONAL INT64 icmp_us;
    REQUIRED BYTE_ARRAY resolver (STRING);
    REQUIRED BYTE_ARRAY addresses (STRING);
}";

/// One row as JSON: every column in every row, null where nothing was observed.
#[derive(Serialize)]
struct JsonRow<'a> {
    worker: &'a str,
    boot: String,
    counter: u64,
    library: &'a str,
    language: &'a str,
    version: &'a str,
    metric: &'a str,
    at_us: i64,
    sent_us: Option<i64>,
    received_us: Option<i64>,
    app_us: Option<u64>,
    library_us: Option<u64>,
    network_us: Option<u64>,
    connect_us: Option<u64>,
    udp_us: Option<u64>,
    wait_us: u64,
    target: &'a str,
    flags: &'a [String],
    dns_us: Option<u64>,
    icmp_us: Option<u64>,
    resolver: Option<IpAddr>,
    addresses: &'a [IpAddr],
}

impl<'a> JsonRow<'a> {
    fn of(record: &'a Record) -> JsonRow<'a> {
        let measured = &record.measured;
        JsonRow {
            worker: record.id.worker.as_str(),
            boot: boot(record),
            counter: record.id.counter,
            library: &record.instrument.library,
            language: &record.instrument.language,
            version: &record.instrument.version,
            metric: measured.metric.name(),
            at_us: measured.at_us,
            sent_us: measured.sent_us,
            received_us: measured.received_us,
            app_us: measured.app_us,
            library_us: measured.library_us,
            network_us: measured.network_us,
            connect_us: measured.connect_us,
            udp_us: measured.udp_us,
            wait_us: measured.wait_us,
            target: &measured.target,
            flags: &measured.flags,
            dns_us: measured.dns_us,
            icmp_us: measured.icmp_us,
            resolver: measured.resolver,
            addresses: &measured.addresses,
        }
    }
}

fn boot(record: &Record) -> String {
    format!("{:016x}", record.id.boot.0)
}

fn resolver(record: &Record) -> String {
    record.measured.resolver.map_or(String::new(), |resolver| resolver.to_string())
}

impl Reader {
    /// Writes the query's records to a file, whole or not at all; answers with their number.
    pub fn export_records(&self, format: ExportFormat, query: &RecordQuery, out: &Path) -> Result<u64, StoreError> {
        let aside = Aside::create(out, 0o666)?;
        let count = self.write_records(format, query, &mut BufWriter::new(aside.file()), out)?;
        aside.place()?;
        Ok(count)
    }

    /// Writes the query's records to standard output or any other stream; answers with their number.
    pub fn export_records_to<W: Write + Send>(
        &self,
        format: ExportFormat,
        query: &RecordQuery,
        out: &mut W,
    ) -> Result<u64, StoreError> {
        self.write_records(format, query, out, Path::new("the export's output"))
    }

    fn write_records<W: Write + Send>(
        &self,
        format: ExportFormat,
        query: &RecordQuery,
        out: &mut W,
        path: &Path,
    ) -> Result<u64, StoreError> {
        let failed = || StoreError::io("write to", path);
        let count = match format {
            ExportFormat::Parquet => self.write_parquet(query, &mut *out, path)?,
            ExportFormat::Csv => {
                writeln!(out, "{}", COLUMNS.join(",")).map_err(failed())?;
                self.each(query, &mut |record| csv(out, &record).map_err(failed()))?
            }
            ExportFormat::Jsonl => self.each(query, &mut |record| json(out, &record).map_err(failed()))?,
        };
        out.flush().map_err(failed())?;
        Ok(count)
    }

    fn each(
        &self,
        query: &RecordQuery,
        f: &mut dyn FnMut(Record) -> Result<(), StoreError>,
    ) -> Result<u64, StoreError> {
        let mut failure = None;
        let count = self.records(query, &mut |record| match f(record) {
            Ok(()) => true,
            Err(error) => {
                failure = Some(error);
                false
            }
        })?;
        failure.map_or(Ok(count), Err)
    }

    fn write_parquet<W: Write + Send>(&self, query: &RecordQuery, out: W, path: &Path) -> Result<u64, StoreError> {
        let failed = || StoreError::parquet("write to", path);
        let schema = Arc::new(parse_message_type(SCHEMA).map_err(failed())?);
        let properties = WriterProperties::builder()
            .set_created_by(concat!("netlat ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_writer_version(WriterVersion::PARQUET_2_0)
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).map_err(failed())?))
            .build();
        let mut file = SerializedFileWriter::new(out, schema, Arc::new(properties)).map_err(failed())?;
        let mut rows = Vec::new();
        let count = self.each(query, &mut |record| {
            rows.push(record);
            if rows.len() == ROW_GROUP_ROWS { row_group(&mut file, &mut rows).map_err(failed()) } else { Ok(()) }
        })?;
        if !rows.is_empty() {
            row_group(&mut file, &mut rows).map_err(failed())?;
        }
        file.finish().map_err(failed())?;
        Ok(count)
    }
}

fn row_group<W: Write + Send>(
    file: &mut SerializedFileWriter<W>,
    rows: &mut Vec<Record>,
) -> parquet::errors::Result<()> {
    let mut group = file.next_row_group()?;
    macro_rules! text {
        ($value:expr) => {{
            let column: Vec<ByteArray> =
                rows.iter().map(|record| ByteArray::from($value(record).into_bytes())).collect();
            required::<_, ByteArrayType>(&mut group, &column)?;
        }};
    }
    macro_rules! number {
        ($value:expr) => {{
            let column: Vec<i64> = rows.iter().map($value).collect();
            required::<_, Int64Type>(&mut group, &column)?;
        }};
    }
    macro_rules! perhaps {
        ($value:expr) => {{
            let column: Vec<Option<i64>> = rows.iter().map($value).collect();
            optional::<_, Int64Type>(&mut group, &column)?;
        }};
    }
    let span = |us: Option<u64>| us.map(|us| us as i64);
    text!(|record: &Record| record.id.worker.as_str().to_owned());
    text!(boot);
    number!(|record| record.id.counter as i64);
    text!(|record: &Record| record.instrument.library.clone());
    text!(|record: &Record| record.instrument.language.clone());
    text!(|record: &Record| record.instrument.version.clone());
    text!(|record: &Record| record.measured.metric.name().to_owned());
    number!(|record| record.measured.at_us);
    perhaps!(|record| record.measured.sent_us);
    perhaps!(|record| record.measured.received_us);
    perhaps!(|record| span(record.measured.app_us));
    perhaps!(|record| span(record.measured.library_us));
    perhaps!(|record| span(record.measured.network_us));
    perhaps!(|record| span(record.measured.connect_us));
    perhaps!(|record| span(record.measured.udp_us));
    number!(|record| record.measured.wait_us as i64);
    text!(|record: &Record| record.measured.target.clone());
    text!(|record: &Record| record.measured.flags.join(","));
    perhaps!(|record| span(record.measured.dns_us));
    perhaps!(|record| span(record.measured.icmp_us));
    text!(resolver);
    text!(|record: &Record| joined(&record.measured.addresses));
    group.close()?;
    rows.clear();
    Ok(())
}

/// RFC 4180: in quotes where it has to be.
fn field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

fn csv(out: &mut impl Write, record: &Record) -> std::io::Result<()> {
    let measured = &record.measured;
    let number = |value: Option<i64>| value.map_or(String::new(), |value| value.to_string());
    let span = |us: Option<u64>| us.map_or(String::new(), |us| us.to_string());
    let fields = [
        record.id.worker.to_string(),
        boot(record),
        record.id.counter.to_string(),
        field(&record.instrument.library),
        field(&record.instrument.language),
        field(&record.instrument.version),
        measured.metric.to_string(),
        measured.at_us.to_string(),
        number(measured.sent_us),
        number(measured.received_us),
        span(measured.app_us),
        span(measured.library_us),
        span(measured.network_us),
        span(measured.connect_us),
        span(measured.udp_us),
        measured.wait_us.to_string(),
        field(&measured.target),
        field(&measured.flags.join(",")),
        span(measured.dns_us),
        span(measured.icmp_us),
        resolver(record),
        field(&joined(&measured.addresses)),
    ];
    writeln!(out, "{}", fields.join(","))
}

fn json(out: &mut impl Write, record: &Record) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, &JsonRow::of(record))?;
    writeln!(out)
}
