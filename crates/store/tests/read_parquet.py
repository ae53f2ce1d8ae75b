"""Reads an exported Parquet file with pyarrow and with DuckDB and compares it, row by row, with the exported CSV.

usage: read_parquet.py EXPORT.csv EXPORT.parquet SEGMENTS_DIRECTORY
"""

import csv
import glob
import sys

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

csv_path, parquet_path, segments = sys.argv[1:]
WORDS = ("worker", "kind", "direction", "family")
TYPES = {
    "worker": pa.string(),
    "session": pa.uint32(),
    "sequence": pa.uint32(),
    "kind": pa.string(),
    "direction": pa.string(),
    "family": pa.string(),
    "tos_sent": pa.uint8(),
    "tos_received": pa.uint8(),
    "sent_at_ns": pa.timestamp("ns", tz="UTC"),
    "received_at_ns": pa.timestamp("ns", tz="UTC"),
    "ttl": pa.uint8(),
    "size": pa.uint16(),
    "flags": pa.uint16(),
}


def key(row):
    return tuple((value is not None, value if value is not None else 0) for value in row)


with open(csv_path, newline="") as file:
    rows = csv.DictReader(file)
    expected = sorted(
        (
            tuple(row[name] if name in WORDS else int(row[name]) if row[name] != "" else None for name in TYPES)
            for row in rows
        ),
        key=key,
    )
assert len(expected) > 40_000, len(expected)

table = pq.read_table(parquet_path)
assert dict(zip(table.schema.names, table.schema.types)) == TYPES, table.schema
for name in ("sent_at_ns", "received_at_ns"):
    index = table.schema.get_field_index(name)
    table = table.set_column(index, name, table.column(name).cast(pa.int64()))
found = sorted(zip(*(column.to_pylist() for column in table.columns)), key=key)
assert found == expected, "pyarrow reads other rows than the CSV has"

# DuckDB has no value for the outermost nanoseconds of the range, which these samples contain on purpose.
ordinary = [row for row in expected if row[0] == "z" and row[1] == 77]
times = "epoch_ns(sent_at_ns), epoch_ns(received_at_ns)"
columns = ", ".join(TYPES).replace("sent_at_ns, received_at_ns", times)
query = f"SELECT {columns} FROM read_parquet('{parquet_path}') WHERE worker = 'z' AND session = 77"
found = sorted(duckdb.sql(query).fetchall(), key=key)
assert found == ordinary, "DuckDB reads other rows than the CSV has"
lost = duckdb.sql(
    f"SELECT kind, direction, count(*) FILTER (received_at_ns IS NULL) FROM '{parquet_path}' "
    "WHERE worker = 'z' AND session = 77 GROUP BY ALL ORDER BY ALL"
).fetchall()
assert lost == [("rtp", "down", 0), ("rtp", "up", 4000)], lost

files = glob.glob(f"{segments}/*.parquet")
assert files, segments
for file in files:
    metadata = pq.ParquetFile(file).metadata
    group = metadata.row_group(0)
    assert [group.column(i).compression for i in range(group.num_columns)] == ["ZSTD"] * 13
    sent = group.column(8)
    assert "DELTA_BINARY_PACKED" in sent.encodings, sent.encodings
    keys = duckdb.sql(f"SELECT worker, session FROM '{file}'").fetchall()
    assert keys == sorted(keys), "a segment is sorted by worker and session"
print(f"pyarrow {pa.__version__} and DuckDB {duckdb.__version__} read {len(expected)} rows and {len(files)} segment(s)")
