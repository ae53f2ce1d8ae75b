#!/usr/bin/env bash
# The dashboard: the committed pages are what web/ builds; every page in a real browser over data of the demo's lab and over a
# generated world, in both themes, narrow and wide, with axe-core; what a person does; the API as schemathesis sees it.
# Screenshots go to target/dashboard/.
#
#   NETLAT     the program (default: target/release/netlat)
#   CHROMIUM   the browser (default: /usr/bin/chromium)
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
netlat=$(realpath -m "${NETLAT:-$target/release/netlat}")
export CHROMIUM=${CHROMIUM:-/usr/bin/chromium}
out=$PWD/target/dashboard
[ -x "$netlat" ] || { echo "check-dashboard: no $netlat: cargo build --release -p netlat" >&2; exit 1; }

missing=()
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
[ -x "$CHROMIUM" ] || missing+=(chromium)
if [ ${#missing[@]} -gt 0 ]; then
    [ "$(id -u)" = 0 ] || { echo "check-dashboard: install the Debian packages: ${missing[*]}" >&2; exit 1; }
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' || { echo "check-dashboard: node 20 or newer is needed, this is $(node -v)" >&2; exit 1; }

echo "pages: built anew and compared with what is committed"
npm ci --silent --no-audit --no-fund --prefix web
npm run --silent --prefix web build >/dev/null
changed=$(git status --porcelain -- crates/dashboard/dist web)
if [ -n "$changed" ]; then
    printf 'check-dashboard: the committed pages are not what web/ builds; commit these:\n%s\n' "$changed" >&2
    exit 1
fi

rm -rf "$out"
mkdir -p "$out/empty"
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done' EXIT

# Starts a program in the background and waits until its output has a line that begins so; answers with the rest of the line.
wait_for() { # file words
    for _ in $(seq 600); do
        line=$(grep -m1 -- "^$2" "$1" 2>/dev/null || true)
        [ -n "$line" ] && { echo "${line#"$2"}"; return; }
        sleep 0.1
    done
    echo "check-dashboard: no line '$2' in $1" >&2
    cat "$1" "${1%.out}.err" >&2
    exit 1
}
show() { # name data-directory
    "$netlat" dashboard --data "$2" --listen 127.0.0.1:0 >"$out/$1.out" 2>"$out/$1.err" &
    pids+=($!)
}

echo "data: the demo's lab, a generated world, an empty directory"
timeout 300 "$netlat" demo --duration 25 --json --data-dir "$out/demo" >"$out/demo.json" 2>"$out/demo.log" || {
    tail -n 5 "$out/demo.log" >&2
    exit 1
}
cargo run -q --locked -p dashboard --example generate -- "$out/world" 8 6 3 1
show demo "$out/demo/server"
free=$(python3 -c 'import socket; s=[socket.socket() for _ in range(2)]; [x.bind(("127.0.0.1", 0)) for x in s]; print(*(x.getsockname()[1] for x in s))')
read -r control probe <<<"$free"
serve() { # name data-directory control-port probe-port
    "$netlat" server --listen "127.0.0.1:$3" --probe-port "$4" --advertise 127.0.0.1 --dashboard 127.0.0.1:0 --data-dir "$2" >"$out/$1.out" 2>"$out/$1.err" &
    pids+=($!)
}
serve world "$out/world" "$control" "$probe"
demo=$(wait_for "$out/demo.out" "dashboard: "); demo=${demo%/}
world=$(wait_for "$out/world.out" "dashboard: "); world=${world%/}
viewer=$(wait_for "$out/world.out" "dashboard from elsewhere, one login: ")
admin=$("$netlat" server login --admin --data-dir "$out/world")
# A server makes the directory and ends; then it is shown by itself.
read -r control probe <<<"$(python3 -c 'import socket; s=[socket.socket() for _ in range(2)]; [x.bind(("127.0.0.1", 0)) for x in s]; print(*(x.getsockname()[1] for x in s))')"
serve making "$out/empty" "$control" "$probe"
wait_for "$out/making.out" "dashboard: " >/dev/null
making=${pids[-1]}
kill -INT "$making"
wait "$making"
show empty "$out/empty"
empty=$(wait_for "$out/empty.out" "dashboard: "); empty=${empty%/}

echo "every page, both themes, narrow and wide"
RANGE=range=15m node web/check/pages.mjs demo "$demo" nyc1 "$out" few
node web/check/pages.mjs world "$world" lon1 "$out"

echo "what a person does"
https=${viewer%%/#*}
node web/check/acts.mjs "$world" "$https" "$viewer" "$admin" "$empty"

echo "the API as its description says"
[ -x "$out/../schemathesis/bin/schemathesis" ] || {
    python3 -m venv "$out/../schemathesis"
    "$out/../schemathesis/bin/python" -m pip install --quiet --disable-pip-version-check schemathesis==4.32.5
}
(cd "$out" && timeout 240 ../schemathesis/bin/schemathesis run "$world/api/v1/view/openapi.json" --url "$world" \
    --include-method GET --exclude-path /api/v1/view/events --exclude-path /api/v1/view/samples \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
    --phases coverage,fuzzing --max-examples 5 --seed 1 --suppress-health-check all --no-color >schemathesis.log 2>&1) || {
    tail -n 60 "$out/schemathesis.log" >&2
    exit 1
}
grep -E "generated.*passed" "$out/schemathesis.log"
echo "dashboard: all checks passed; screenshots in $out"
