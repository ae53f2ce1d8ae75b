#!/usr/bin/env bash
# How fast the pages' API answers over a large data directory while workers ingest: 30 days, 20 cities, four classes and a day of all 64
# (85 million samples; minutes to make and 8 GB). Not part of scripts/test.
#
#   scripts/bench-dashboard.sh [DIR]      made if it is not there
#   SMALL=1     a day of four cities instead
#   WORKERS     how many ingest meanwhile (default: 20)
#   NETLAT      the program (default: target/release/netlat)
set -euo pipefail
cd "$(dirname "$0")/.."
netlat=$(realpath -m "${NETLAT:-target/release/netlat}")
[ -x "$netlat" ] || { echo "bench-dashboard: no $netlat: cargo build --release -p netlat" >&2; exit 1; }
dir=$(realpath -m "${1:-target/bench-dashboard}")
extent="20 720 3 24"
[ -z "${SMALL:-}" ] || extent="4 24 3 24"
# shellcheck disable=SC2086
[ -e "$dir/netlat.db" ] || cargo run -q --release --locked -p dashboard --example generate -- "$dir" $extent

work=$(mktemp -d)
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait; rm -rf "$work"' EXIT
read -r control probe <<<"$(python3 -c 'import socket; s=[socket.socket() for _ in range(2)]; [x.bind(("127.0.0.1", 0)) for x in s]; print(*(x.getsockname()[1] for x in s))')"
"$netlat" server --listen "127.0.0.1:$control" --probe-port "$probe" --advertise 127.0.0.1 --dashboard 127.0.0.1:0 --data-dir "$dir" \
    --join-file "$work/join" >"$work/server" 2>&1 &
pids+=($!)
for _ in $(seq 600); do
    pages=$(sed -n 's|.*the dashboard is at http://\([0-9.:]*\)/.*|\1|p' "$work/server" | head -n1)
    [ -n "$pages" ] && break
    sleep 0.1
done
[ -n "$pages" ] || { cat "$work/server" >&2; exit 1; }
for number in $(seq "${WORKERS:-20}"); do
    "$netlat" worker --name "ingest$number" --join "@$work/join" --data-dir "$work/$number" >/dev/null 2>&1 &
    pids+=($!)
done
sleep 5
python3 - "http://$pages" "$dir" <<'END'
import gzip, json, os, sys, time, urllib.parse, urllib.request
base, directory = sys.argv[1], sys.argv[2]
DAY = 86400

def get(path, query=None, headers={}):
    url = f"{base}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
    begun = time.perf_counter()
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=120) as answer:
        body = answer.read()
    return (time.perf_counter() - begun) * 1e3, body, answer.headers

state = json.loads(get("/api/v1/view/state")[1])
last = state["last"]
city = next(name for name in state["workers"] if not name.startswith("ingest"))
spans = {"1h": 3600, "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
series = {"worker": city, "kind": "rtp", "family": "ipv4", "direction": "up", "classes": "0,34,46,54"}
pages = {
    "cities": {}, "applications": {"metric": "rest"}, "applications of a city": {"worker": city}, "classes": {"worker": city}, "series": series,
    "marks": {"worker": city}, "verdicts": {"worker": city}, "media": {"worker": city}, "path": {"worker": city}, "workers": None,
}

def p95(times):
    return sorted(times)[max(0, -(-95 * len(times) // 100) - 1)]

def cold():
    # Needs root; the page cache is what makes an answer warm.
    try:
        os.sync()
        open("/proc/sys/vm/drop_caches", "w").write("1")
        return True
    except OSError:
        return False

print(f"{'API':24} {'range':5} {'cold ms':>8} {'warm p50':>9} {'warm p95':>9} {'kB':>7} {'state p95':>9}")
worst = {}
for name, query in pages.items():
    for span, seconds in ([("-", None)] if query is None else spans.items()):
        # A range that is not asked for again: nothing but the page cache can help.
        asked = None if query is None else {**query, "since": last - seconds, "until": last}
        path = "/api/v1/view/" + name.split()[0]
        first = get(path, asked)[0] if cold() else float("nan")
        times, floor = [], []
        for _ in range(20):
            took, body, _ = get(path, asked, {"Accept-Encoding": "gzip"})
            times.append(took)
            # The same server and minute, asked for next to nothing.
            floor.append(get("/api/v1/view/state")[0])
        worst[(name, span)] = (first, p95(times))
        print(f"{name:24} {span:5} {first:8.0f} {sorted(times)[10]:9.1f} {p95(times):9.1f} {len(body) / 1e3:7.1f} {p95(floor):9.1f}", flush=True)
total = sum(len(get(f"/{name}", None, {"Accept-Encoding": "gzip"})[1]) for name in ("", "app.js", "app.css"))
print(f"first page, compressed: {total / 1e3:.0f} kB (target 150)")
slow = [f"{name} {span}: cold {first:.0f}, warm p95 {warm:.0f} ms" for (name, span), (first, warm) in worst.items() if warm > 100 or first > 400]
print("beyond 100 ms warm or 400 ms cold:" if slow else "everything within 100 ms warm and 400 ms cold", *slow, sep="\n  ")
END
