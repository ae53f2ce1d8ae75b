#!/usr/bin/env bash
# What other programs read of our files: the store's Parquet segments and export, by pyarrow and DuckDB.
set -euo pipefail
cd "$(dirname "$0")/.."
exec bash crates/store/tests/outside_reader.sh
