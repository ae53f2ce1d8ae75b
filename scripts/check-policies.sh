#!/usr/bin/env bash
# Every policy of the lab's scenario file, measured by the real program, a few cities at a time: finding beside policy.
set -euo pipefail
cd "$(dirname "$0")/.."
scenario=crates/lab/scenarios/policies.toml
mapfile -t cities < <(python3 -c 'import sys, tomllib; print("\n".join(c["name"] for c in tomllib.load(open(sys.argv[1], "rb"))["city"]))' "$scenario")
[ ${#cities[@]} -ge 20 ] || { echo "found only ${#cities[@]} cities in $scenario" >&2; exit 1; }
result=target/policies.json
for ((i = 0; i < ${#cities[@]}; i += 5)); do
    batch=$(IFS=,; echo "${cities[*]:i:5}")
    if ! timeout 150 ./target/release/netlat demo --scenario "$scenario" --city "$batch" --duration 22 --no-discord --json >"$result" 2>target/policies.log; then
        python3 - "$result" <<'PY' || tail -n 5 target/policies.log
import json, sys
for city in json.load(open(sys.argv[1]))["cities"]:
    for check in city["checks"] + city["delays"]:
        if check["result"] == "differs":
            print(city["city"], json.dumps(check))
PY
        echo "findings differ from policies in: $batch" >&2
        exit 1
    fi
    echo "$batch: every finding agrees with its policy"
done
