#!/usr/bin/env bash
# Verdicts of `netlat probe --shaping` against the kernel's own policers, shapers and drops, in namespaces that vanish with
# the script. The policies are data (crates/lab/scenarios/shaping.toml); what each city must be called is below.
set -euo pipefail
cd "$(dirname "$0")/.."
netlat=$PWD/target/release/netlat
cargo build -q --locked -p lab --bins --examples
lab=$PWD/target/debug/examples/lab-probe
scenario=$PWD/crates/lab/scenarios/shaping.toml
rm -f target/shaping-*.json

cat >target/in-shaping.sh <<'LAB'
set -euo pipefail
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$dir"' EXIT
at() { local place=$1; shift; nsenter --net="/run/netns/$place" -- "$@"; }
at server "$NETLAT" server --data-dir "$dir/server" --advertise 10.77.0.1 --trigger-port 443 --join-file "$dir/join" 2>"$dir/server.log" &
for _ in $(seq 100); do [ -s "$dir/server/server.json" ] && break; sleep 0.1; done
probe() {
    local city=$1; shift
    at "$city" timeout 120 "$NETLAT" probe --join "@$dir/join" --name "$city" --family 4 --shaping --json "$@" >"$OUT/shaping-$city.json" 2>"$OUT/shaping-$city.log" ||
        { echo "$city: $(tail -n 2 "$OUT/shaping-$city.log")"; exit 1; }
}
probe ams3 --dscp 34,46 --kind rtp,udp --duration 60 --budget 12MB
probe nyc1 --dscp 46 --kind udp --direction up --duration 40 --budget 12MB
probe fra1 --dscp 34 --kind udp --direction down --duration 40 --budget 12MB
probe sfo1 --dscp 8 --kind udp --direction up --duration 40
probe tor1 --dscp 10 --kind udp --direction up --duration 30
probe lon1 --dscp 46 --kind udp --direction up --duration 40 --budget 12MB
probe sgp1 --dscp 46 --kind udp --ports 443 --direction up --duration 60
LAB
NETLAT=$netlat OUT=$PWD/target timeout 600 "$lab" run "$scenario" server bash "$PWD/target/in-shaping.sh"

python3 - <<'PY'
import json

failures = []

def expect(city, condition, message):
    if not condition:
        failures.append(f"{city}: {message}")

def paths(city):
    return json.load(open(f"target/shaping-{city}.json"))["paths"]

def entries(city, direction, dscp):
    return [d for p in paths(city) if p["direction"] == direction for d in p["differentiation"]
            if d["subject"]["dscp"] == dscp and d["control"]["dscp"] == 0]

def near(city, what, estimate, truth, share, slack=0.0):
    error = abs(estimate["estimate"] - truth)
    print(f"  {city}: {what} {estimate['estimate']:.0f} (truth {truth:.0f}, off by {100 * error / truth:.2f} %)")
    expect(city, error <= max(share * truth, slack), f"{what}: {estimate} is not {truth}")

LAYER3 = 220  # bytes of a probe: 192 and the headers of UDP and IPv4
FRAME = LAYER3 + 14

findings = {"none", "inconclusive"}
for path in paths("ams3"):
    expect("ams3", path["rate_limit"] is None, f"rate limit {path['rate_limit']}")
    for entry in path["differentiation"]:
        expect("ams3", entry["verdict"] in findings, f"{path['direction']} {entry}")

(entry,) = entries("nyc1", "up", 46)
expect("nyc1", entry["verdict"] == "policed" and entry["trigger"] == "dscp", entry)
if entry["rate_bps"]:
    near("nyc1", "rate", entry["rate_bps"], 178 * LAYER3 * 8, 0.01)
    near("nyc1", "burst", entry["burst_bytes"], 50 * LAYER3, 0.05, 2 * LAYER3)

(entry,) = entries("fra1", "down", 34)
expect("fra1", entry["verdict"] == "shaped" and entry["trigger"] == "dscp", entry)
if entry["rate_bps"]:
    near("fra1", "layer 2 rate", entry["rate_l2_bps"], 400_000, 0.01)
    near("fra1", "burst", entry["burst_bytes"], 10_000 * LAYER3 / FRAME, 0.05, 2 * LAYER3)

(entry,) = entries("sfo1", "up", 8)
expect("sfo1", entry["verdict"] == "lossy" and entry["trigger"] == "dscp", entry)
(entry,) = entries("tor1", "up", 10)
expect("tor1", entry["verdict"] == "blocked", entry)

(path,) = [p for p in paths("lon1") if p["direction"] == "up"]
expect("lon1", path["rate_limit"] is not None and path["rate_limit"]["kind"] == "policer", path["rate_limit"])
if path["rate_limit"]:
    near("lon1", "rate", path["rate_limit"]["rate_bps"], 300 * LAYER3 * 8, 0.01)
for entry in path["differentiation"]:
    expect("lon1", entry["verdict"] in findings, entry)

(path,) = [p for p in paths("sgp1") if p["direction"] == "up"]
by_port = [d for d in path["differentiation"] if d["subject"]["port"] == 443]
expect("sgp1", by_port and by_port[0]["verdict"] == "lossy" and by_port[0]["trigger"] == "port", by_port)
for entry in entries("sgp1", "up", 46):
    expect("sgp1", entry["verdict"] in findings, entry)

if failures:
    raise SystemExit("check-shaping: " + "\n  ".join(failures))
print("check-shaping: every city is called what it is")
PY
