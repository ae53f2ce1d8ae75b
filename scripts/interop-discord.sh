#!/usr/bin/env bash
# Real, unmodified Discord libraries against `netlat emulate discord`: discord.py (zstd-stream and zlib-stream), hikari, discord.js.
# They find discord.com by DNS and trust a private CA, in a namespace of their own. Then every REST operation against Discord's own
# description.
#
#   NETLAT        the program (default: target/release/netlat)
#   LIBRARIES     where the libraries are installed from PyPI and npm (default: target/interop-discord)
#   DESCRIPTION   Discord's OpenAPI document (default: ../shared/data/discord-openapi.json; docs/EMULATOR.md says where to get it)
set -euo pipefail
cd "$(dirname "$0")/.."
NETLAT=$(realpath -m "${NETLAT:-target/release/netlat}")
LIBRARIES=$(realpath -m "${LIBRARIES:-target/interop-discord}")
DESCRIPTION=$(realpath -m "${DESCRIPTION:-../shared/data/discord-openapi.json}")

for tool in python3 node npm unshare ip mount; do
    command -v "$tool" >/dev/null || { echo "interop-discord: $tool is missing" >&2; exit 1; }
done
[ -x "$NETLAT" ] || { echo "interop-discord: no $NETLAT: cargo build --release -p netlat" >&2; exit 1; }
[ -r "$DESCRIPTION" ] || { echo "interop-discord: no $DESCRIPTION: give DESCRIPTION (see docs/EMULATOR.md)" >&2; exit 1; }

# Registries are reached from outside the namespace only.
mkdir -p "$LIBRARIES/js"
[ -x "$LIBRARIES/py/bin/python" ] || python3 -m venv "$LIBRARIES/py"
"$LIBRARIES/py/bin/python" -m pip install --quiet --disable-pip-version-check \
    'discord.py>=2.7' PyNaCl davey zstandard hikari jsonschema
cp scripts/interop-discord/package.json scripts/interop-discord/discordjs_bot.mjs "$LIBRARIES/js/"
npm install --silent --no-audit --no-fund --prefix "$LIBRARIES/js" || {
    echo "interop-discord: npm could not install discord.js" >&2
    exit 1
}

user=-Urnm
unshare $user true 2>/dev/null || user=-nm
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
NETLAT=$NETLAT LIBRARIES=$LIBRARIES DESCRIPTION=$DESCRIPTION WORK=$work HERE=$PWD/scripts/interop-discord \
    timeout --kill-after=10 700 unshare $user --fork --kill-child bash scripts/interop-discord/inside.sh
