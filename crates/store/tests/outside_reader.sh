#!/bin/sh
# Reads what the store writes with pyarrow and DuckDB, in a virtual environment under the target directory.
# NETLAT_PYTHON names a Python that has both, and then nothing is installed.
set -eu
cd "$(dirname "$0")/../../.."
if [ -z "${NETLAT_PYTHON:-}" ]; then
    venv="${CARGO_TARGET_DIR:-target}/outside-reader"
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check 'pyarrow>=20' 'duckdb>=1.3'
    NETLAT_PYTHON="$PWD/$venv/bin/python"
    case "$venv" in /*) NETLAT_PYTHON="$venv/bin/python" ;; esac
fi
export NETLAT_PYTHON
exec cargo test -p store --test it -- --ignored --exact export::pyarrow_and_duckdb_read_what_was_committed --nocapture
