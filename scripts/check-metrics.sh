#!/usr/bin/env bash
# What Prometheus makes of us: promtool on the alert rules and on /metrics, and a real Prometheus that scrapes a generated world
# and answers every query of docs/grafana/netlat.json.
#
#   NETLAT     the program (default: target/release/netlat)
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
netlat=$(realpath -m "${NETLAT:-$target/release/netlat}")
[ -x "$netlat" ] || { echo "check-metrics: no $netlat: cargo build --release -p netlat" >&2; exit 1; }
missing=()
command -v prometheus >/dev/null && command -v promtool >/dev/null || missing+=(prometheus)
command -v curl >/dev/null || missing+=(curl)
if [ ${#missing[@]} -gt 0 ]; then
    [ "$(id -u)" = 0 ] || { echo "check-metrics: install the Debian packages: ${missing[*]}" >&2; exit 1; }
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

promtool check rules docs/grafana/alerts.yml
promtool test rules docs/grafana/alerts_test.yml

out=$(mktemp -d)
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait; rm -rf "$out"' EXIT
cargo run -q --locked -p dashboard --example generate -- "$out/world" 2 3 2 0
"$netlat" dashboard --data "$out/world" --listen 127.0.0.1:0 >"$out/pages" 2>&1 &
pids+=($!)
for _ in $(seq 300); do
    pages=$(sed -n 's|^dashboard: http://||p' "$out/pages")
    [ -n "$pages" ] && break
    sleep 0.1
done
[ -n "$pages" ] || { echo "check-metrics: the dashboard did not come up:" >&2; cat "$out/pages" >&2; exit 1; }
pages=${pages%/}
curl -sf "http://$pages/metrics" >"$out/metrics"
promtool check metrics <"$out/metrics"

cat >"$out/prometheus.yml" <<END
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [$PWD/docs/grafana/alerts.yml]
scrape_configs:
  - { job_name: netlat, static_configs: [{ targets: ["$pages"] }] }
END
port=$(python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
prometheus --config.file="$out/prometheus.yml" --storage.tsdb.path="$out/tsdb" --web.listen-address="127.0.0.1:$port" >"$out/prometheus.log" 2>&1 &
pids+=($!)
python3 - "$port" "$out/prometheus.log" <<'END'
import json, sys, time, urllib.parse, urllib.request

def ask(path, **query):
    url = f"http://127.0.0.1:{sys.argv[1]}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    return json.load(urllib.request.urlopen(url, timeout=30))["data"]

def until(what, look):
    for _ in range(300):
        try:
            found = look()
            if found:
                return found
        except OSError:
            pass
        time.sleep(0.2)
    sys.exit(f"check-metrics: waited in vain for this: {what}\n" + open(sys.argv[2]).read())

until("a scrape", lambda: [t for t in ask("targets")["activeTargets"] if t["health"] == "up"])
targets = [(panel["title"], target["expr"]) for panel in json.load(open("docs/grafana/netlat.json"))["panels"] for target in panel["targets"]]
assert len(targets) >= 7, targets
for title, query in targets:
    series = until(query, lambda: ask("query", query=query.replace("$worker", ".+"))["result"])
    print(f"{title}: {len(series)} series")
firing = until("rules evaluated", lambda: [r for g in ask("rules")["groups"] for r in g["rules"] if r["lastEvaluation"] > "1"])
for rule in firing:
    assert rule["health"] == "ok", rule
raised = until("the generated finding", lambda: [a for a in ask("alerts")["alerts"] if a["labels"]["alertname"] == "NetLatClassTreatedOtherwise"])
print("raised:", raised[0]["annotations"]["summary"])
END
echo "check-metrics: Prometheus takes the metrics, the rules and the dashboard's queries"
