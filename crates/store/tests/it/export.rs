//! The three formats say the same, other programs read them, and half a file is never seen.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use model::{Direction, Family, Kind, Sample, SampleFlags, SessionId, Tos, UnixNanos, WorkerName};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use store::{ExportFormat, Reader, SampleQuery, Store, StoreOptions};

use crate::generate::{START, commit_of, commits, name, of_commits, plain, sorted};

/// A sample from the words and numbers of its columns, in their order.
fn parse(fields: &[Option<String>]) -> (WorkerName, Sample) {
    fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(field: &Option<String>) -> T {
        field.as_ref().unwrap().parse().unwrap()
    }
    let word = |i: usize| fields[i].as_deref().unwrap();
    let optional = |i: usize| fields[i].as_ref().map(|field| field.parse::<i64>().unwrap());
    let sample = Sample {
        session: SessionId(number(&fields[1])),
        sequence: number(&fields[2]),
        kind: Kind::ALL.into_iter().find(|kind| kind.name() == word(3)).unwrap(),
        direction: Direction::ALL.into_iter().find(|direction| direction.name() == word(4)).unwrap(),
        family: Family::ALL.into_iter().find(|family| family.name() == word(5)).unwrap(),
        tos_sent: Tos::from_byte(number(&fields[6])),
        tos_received: optional(7).map(|tos| Tos::from_byte(tos.try_into().unwrap())),
        sent_at: UnixNanos(number(&fields[8])),
        received_at: optional(9).map(UnixNanos),
        ttl: optional(10).map(|ttl| ttl.try_into().unwrap()),
        size: number(&fields[11]),
        flags: SampleFlags(number(&fields[12])),
    };
    (name(word(0)), sample)
}

const HEADER: &str =
    "worker,session,sequence,kind,direction,family,tos_sent,tos_received,sent_at_ns,received_at_ns,ttl,size,flags";

fn read_csv(path: &Path) -> Vec<(WorkerName, Sample)> {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(HEADER));
    let cell = |cell: &str| (!cell.is_empty()).then(|| cell.to_owned());
    sorted(lines.map(|line| parse(&line.split(',').map(cell).collect::<Vec<_>>())).collect())
}

fn read_jsonl(path: &Path) -> Vec<(WorkerName, Sample)> {
    let text = fs::read_to_string(path).unwrap();
    let cell = |value: &serde_json::Value| match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text.clone()),
        value => Some(value.to_string()),
    };
    let line = |line: &str| {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(object.as_object().unwrap().len(), 13);
        parse(&HEADER.split(',').map(|column| cell(&object[column])).collect::<Vec<_>>())
    };
    sorted(text.lines().map(line).collect())
}

fn read_parquet(path: &Path) -> Vec<(WorkerName, Sample)> {
    let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    let cell = |field: &Field| match field {
        Field::Null => None,
        Field::Str(text) => Some(text.clone()),
        Field::Long(value) => Some(value.to_string()),
        Field::UInt(value) => Some(value.to_string()),
        Field::UShort(value) => Some(value.to_string()),
        Field::UByte(value) => Some(value.to_string()),
        other => panic!("{other:?}"),
    };
    let rows = reader.get_row_iter(None).unwrap().map(|row| {
        let row = row.unwrap();
        let columns: Vec<&str> = row.get_column_iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(columns.join(","), HEADER);
        parse(&row.get_column_iter().map(|(_, field)| cell(field)).collect::<Vec<_>>())
    });
    sorted(rows.collect())
}

/// A directory with sealed and unsealed samples of every shape.
fn filled() -> (tempfile::TempDir, Vec<(WorkerName, Sample)>) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    let mut runner = TestRunner::deterministic();
    let mut all: Vec<_> = std::iter::repeat_with(|| commits().new_tree(&mut runner).unwrap().current())
        .find(|commits| commits.iter().map(|commit| commit.samples.len()).sum::<usize>() > 8)
        .unwrap();
    all.push(commit_of("z", (0..40_000).map(|i| plain(77, i))));
    for (i, commit) in all.iter().enumerate() {
        store.commit(commit).unwrap();
        if i == all.len() / 2 {
            assert!(store.seal_all(UnixNanos(START)).unwrap().samples > 0);
        }
    }
    (dir, of_commits(&all))
}

#[test]
fn all_formats_say_what_was_committed() {
    let (dir, all) = filled();
    let reader = Reader::open(dir.path()).unwrap();
    let out = tempfile::tempdir().unwrap();
    let export = |format: ExportFormat, query: &SampleQuery| -> PathBuf {
        let path = out.path().join(format.name());
        let count = reader.export(format, query, &path).unwrap();
        let mut bytes = Vec::new();
        assert_eq!(reader.export_to(format, query, &mut bytes).unwrap(), count);
        assert!(bytes == fs::read(&path).unwrap(), "{format} to a stream");
        path
    };
    for query in [SampleQuery::default(), SampleQuery { worker: Some(name("nyc1")), ..SampleQuery::default() }] {
        let wanted: Vec<_> = all.iter().filter(|(worker, sample)| query.matches(worker, sample)).cloned().collect();
        assert!(!wanted.is_empty());
        assert!(read_csv(&export(ExportFormat::Csv, &query)) == wanted);
        assert!(read_jsonl(&export(ExportFormat::Jsonl, &query)) == wanted);
        assert!(read_parquet(&export(ExportFormat::Parquet, &query)) == wanted);
    }
    let nothing = SampleQuery { worker: Some(name("nobody")), ..SampleQuery::default() };
    assert_eq!(read_csv(&export(ExportFormat::Csv, &nothing)), []);
    assert_eq!(read_parquet(&export(ExportFormat::Parquet, &nothing)), []);
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 3, "nothing is left aside");
}

#[test]
fn a_failed_export_leaves_the_old_file_and_nothing_else() {
    let (dir, _) = filled();
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("samples.csv");
    fs::write(&path, "old").unwrap();
    let segment = dir.path().join("segments/samples-0000000001.parquet");
    let mut bytes = fs::read(&segment).unwrap();
    let footer = bytes.len() - 6;
    bytes[footer] ^= 0xff;
    fs::write(&segment, bytes).unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    for format in ExportFormat::ALL {
        let error = reader.export(format, &SampleQuery::default(), &path).unwrap_err();
        assert!(error.to_string().contains("samples-0000000001.parquet"), "{error}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
    let error = reader.export(ExportFormat::Csv, &SampleQuery::default(), &out.path().join("no/dir.csv")).unwrap_err();
    assert!(error.to_string().contains("no/dir.csv"), "{error}");
}

/// `crates/store/tests/outside_reader.sh` runs it. Fails, rather than passing, where there is no pyarrow or DuckDB.
#[test]
#[ignore = "needs Python with pyarrow and duckdb: crates/store/tests/outside_reader.sh"]
fn pyarrow_and_duckdb_read_what_was_committed() {
    let (dir, all) = filled();
    let reader = Reader::open(dir.path()).unwrap();
    let out = tempfile::tempdir().unwrap();
    let (csv, parquet) = (out.path().join("a.csv"), out.path().join("a.parquet"));
    reader.export(ExportFormat::Csv, &SampleQuery::default(), &csv).unwrap();
    reader.export(ExportFormat::Parquet, &SampleQuery::default(), &parquet).unwrap();
    assert!(read_csv(&csv) == all);
    let python = std::env::var_os("NETLAT_PYTHON").unwrap_or_else(|| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_parquet.py");
    let status = Command::new(&python)
        .arg(script)
        .args([&csv, &parquet, &dir.path().join("segments")])
        .status()
        .unwrap_or_else(|error| panic!("{}: {error}", python.display()));
    assert!(status.success());
}
