#!/usr/bin/env bash
# The worker's watch of DNS beside tcpdump on the same interface, in a namespace of its own: real clients (glibc, Node's c-ares and, where
# it is installed, Chromium with its HTTPS records) ask a resolver that is fast or slow, over UDP and TCP, and the watch must have the same
# lookups with the same times; pings of what was seen and of a configured host; packets made to break it; no ICMP.
#
#   NETLAT    the program (default: target/release/netlat)
#   CHROMIUM  the browser (default: chromium)
set -euo pipefail
cd "$(dirname "$0")/.."
NETLAT=$(realpath -m "${NETLAT:-target/release/netlat}")
for tool in python3 unshare mount ip tcpdump tshark node; do
    command -v "$tool" >/dev/null || { echo "check-media: $tool is missing (Debian packages python3, util-linux, mount, iproute2, tcpdump, tshark, nodejs)" >&2; exit 1; }
done
[ -x "$NETLAT" ] || { echo "check-media: no $NETLAT: cargo build --release -p netlat" >&2; exit 1; }
CHROMIUM=${CHROMIUM:-chromium}
if ! command -v "$CHROMIUM" >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
    else
        echo "check-media: $CHROMIUM is missing (Debian package chromium)" >&2
        exit 1
    fi
fi

# Whatever is started in there ends with it: it has its own process numbers.
# tcpdump gives root's rights up, which a user namespace does not let it; there tshark's own capture stands in.
user=-nm
export DUMP="tcpdump --immediate-mode -Z root"
unshare $user true 2>/dev/null || { user=-Urnm && export DUMP=dumpcap; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
NETLAT=$NETLAT CHROMIUM=$CHROMIUM WORK=$work HERE=$PWD/scripts/check-media \
    timeout --kill-after=10 240 unshare $user -p --mount-proc --fork --kill-child bash scripts/check-media/inside.sh
