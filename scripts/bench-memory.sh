#!/usr/bin/env bash
# Resident memory of a server with 50 workers at 100 packets a second each, over some minutes (default 10), and of a worker.
# Everything on loopback. Prints a line every 10 seconds and the figures at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:-10}
workers=${2:-50}
netlat=${NETLAT:-$PWD/target/release/netlat}
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
cat >"$dir/netlat.toml" <<'T'
[[task]]
id = "bench"
kinds = ["rtp"]
rate_pps = 100
T
"$netlat" server --config "$dir/netlat.toml" --listen 127.0.0.1:18443 --probe-port 18620 --data-dir "$dir/server" --join-file "$dir/join" 2>"$dir/server.log" &
server=$!
for _ in $(seq 100); do [ -s "$dir/server/server.json" ] && break; sleep 0.1; done
pids=()
for i in $(seq "$workers"); do
    "$netlat" worker --join "@$dir/join" --name "w$i" --data-dir "$dir/w$i" 2>"$dir/w$i.log" &
    pids+=($!)
done
rss() { awk '/VmRSS/{print $2}' "/proc/$1/status"; }
cpu() { awk '{print $14 + $15}' "/proc/$1/stat"; }
most=0
first=
start=$(cpu $server)
for ((s = 10; s <= minutes * 60; s += 10)); do
    sleep 10
    now=$(rss $server)
    ((now > most)) && most=$now
    ((s >= 60)) && first=${first:-$now}
    echo "$s s: server $now kB, worker $(rss "${pids[0]}") kB, server CPU $(( ($(cpu $server) - start) * 100 / s / $(getconf CLK_TCK) )) %"
done
"$netlat" server status --json --data-dir "$dir/server" | python3 -c 'import json,sys; d=json.load(sys.stdin); print("workers", len(d["workers"]), "sessions", d["sessions"], "counters", d.get("counters"))'
echo "server: most $most kB, after one minute ${first:-$most} kB, at the end $(rss $server) kB; worker $(rss "${pids[0]}") kB"
