#!/usr/bin/env bash
# Real, unmodified Discord libraries against `netlat emulate discord`: discord.py (zstd and zlib), hikari, discord.js. They find
# discord.com by DNS and trust a private CA, in a namespace of their own. Then every REST route against Discord's description.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

for tool in python3 npm node unshare ip; do
    command -v "$tool" >/dev/null || { echo "interop-discord.sh: $tool is missing" >&2; exit 1; }
done

target=${CARGO_TARGET_DIR:-$root/target}
tools=$target/interop-discord
mkdir -p "$tools"
[ -x "$tools/py/bin/python" ] || python3 -m venv "$tools/py"
"$tools/py/bin/python" -m pip install -q --disable-pip-version-check \
    'discord.py>=2.7' PyNaCl davey zstandard hikari jsonschema
mkdir -p "$tools/js"
cp scripts/interop-discord/package.json "$tools/js/"
npm install --silent --no-audit --no-fund --prefix "$tools/js"
cp scripts/interop-discord/discordjs_bot.mjs "$tools/js/"

cargo build --locked -p netlat
netlat=$target/debug/netlat

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
user=()
[ "$(id -u)" = 0 ] || user=(-U -r)
NETLAT=$netlat TOOLS=$tools WORK=$work ROOT=$root \
    timeout --kill-after=10 600 unshare "${user[@]}" -n -m --fork --kill-child bash scripts/interop-discord/inside.sh
