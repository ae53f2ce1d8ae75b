#!/usr/bin/env bash
# The Legion against an emulated Discord: every bot is installed from its registry by `netlat legion setup`, runs, measures beside the
# emulator's own stamps of the same exchanges, posts, is killed and comes back; its records are scraped; a wrong token, a missing runtime, a
# supervisor that is killed.
#
#   NETLAT     the program (default: target/release/netlat)
#   LEGION     where the bots are installed (default: target/check-legion)
#   SECONDS_OF how long the bots measure (default: 30)
#   DELAY_MS   what Discord itself takes for heartbeats and REST (default: 30)
#   FIGURES    if set: only the table; docs/LEGION.md has that of
#              for ms in 0 30 150; do FIGURES=1 DELAY_MS=$ms SECONDS_OF=60 scripts/check-legion.sh; done
set -euo pipefail
cd "$(dirname "$0")/.."
NETLAT=$(realpath -m "${NETLAT:-target/release/netlat}")
LEGION=$(realpath -m "${LEGION:-target/check-legion}")
for tool in python3 node npm go java mvn unshare ip curl; do
    command -v "$tool" >/dev/null || { echo "check-legion: $tool is missing (Debian packages python3, nodejs, npm, golang, default-jdk-headless, maven, util-linux, iproute2, curl)" >&2; exit 1; }
done
[ -x "$NETLAT" ] || { echo "check-legion: no $NETLAT: cargo build --release -p netlat" >&2; exit 1; }
# Registries are reached from outside the namespace only.
"$NETLAT" legion setup --only discord.py,hikari,discord.js,oceanic,discordgo,JDA --install-dir "$LEGION"

user=-Urn
unshare $user true 2>/dev/null || user=-n
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
NETLAT=$NETLAT LEGION=$LEGION SECONDS_OF=${SECONDS_OF:-30} DELAY_MS=${DELAY_MS:-30} FIGURES=${FIGURES:-} WORK=$work HERE=$PWD/scripts/check-legion \
    timeout --kill-after=10 400 unshare $user -p --mount-proc --fork --kill-child bash scripts/check-legion/inside.sh
