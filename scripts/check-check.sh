#!/usr/bin/env bash
# `netlat check` against an emulated Discord whose delays are known, in a namespace of its own: six culprits, each named, and a clean one
# in which nothing stands out; a real discord.py whose event loop is blocked under --pid; figures beside `ss -ti`; bad input.
#
#   NETLAT     the program (default: target/release/netlat)
#   LIBRARIES  where discord.py is installed from PyPI (default: target/check-check)
#   N          runs of each (default: 2)
set -euo pipefail
cd "$(dirname "$0")/.."
NETLAT=$(realpath -m "${NETLAT:-target/release/netlat}")
LIBRARIES=$(realpath -m "${LIBRARIES:-target/check-check}")
for tool in python3 unshare nsenter setpriv ip ss mount curl openssl; do
    command -v "$tool" >/dev/null || { echo "check-check: $tool is missing (Debian packages python3, util-linux, iproute2, curl, openssl)" >&2; exit 1; }
done
[ -x "$NETLAT" ] || { echo "check-check: no $NETLAT: cargo build --release -p netlat" >&2; exit 1; }
[ -x "$LIBRARIES/bin/python" ] || python3 -m venv "$LIBRARIES"
"$LIBRARIES/bin/python" -m pip install --quiet --disable-pip-version-check 'discord.py>=2.7'

# Whatever is started in there ends with it: it has its own process numbers.
user=-Urnm
unshare $user true 2>/dev/null || user=-nm
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
N=${N:-2} NETLAT=$NETLAT PYTHON=$LIBRARIES/bin/python WORK=$work HERE=$PWD/scripts/check-check \
    timeout --kill-after=10 $((300 + 150 * ${N:-2})) unshare $user -p --mount-proc --fork --kill-child bash scripts/check-check/inside.sh
