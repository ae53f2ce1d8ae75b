#!/usr/bin/env bash
# The program in the demo's lab, beyond what the demo compares: path, where, both families behind a NAT, clocks that step
# and run away. Everything happens inside namespaces that vanish with the script.
set -euo pipefail
cd "$(dirname "$0")/.."
netlat=${NETLAT:-$PWD/target/release/netlat}
cargo build -q --locked -p lab --example lab-probe
lab=$PWD/target/debug/examples/lab-probe
scenario=$PWD/crates/lab/scenarios/demo.toml

# A clock step of 250 ms and 200 ppm of skew in every worker: delays stay within their uncertainty of the lab's truth,
# the marks are what they were, and exactly the step is seen.
echo "clocks: 250 ms step, 200 ppm skew"
timeout 120 env NETLAT_TEST_CLOCK=step=+250ms@12s,skew=200ppm "$netlat" demo --no-discord --city tor1,ams3 --duration 30 --json >target/clock.json 2>target/clock.log || {
    tail -n 3 target/clock.log
    python3 -c 'import json; [print(c["city"], d) for c in json.load(open("target/clock.json"))["cities"] for d in c["delays"]]'
    exit 1
}

cat >target/in-lab.sh <<'LAB'
set -euo pipefail
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$dir"' EXIT
at() { local place=$1; shift; nsenter --net="/run/netns/$place" -- "$@"; }
# In the background only: the job's number is then the program's own.
instead_at() { local place=$1; shift; exec nsenter --net="/run/netns/$place" -- "$@"; }
cat >"$dir/netlat.toml" <<'T'
[[task]]
id = "lab"
kinds = ["rtp", "udp"]
dscp = [0, 46]
rate_pps = 40
T
at server "$NETLAT" server --config "$dir/netlat.toml" --data-dir "$dir/server" --advertise 10.77.0.1,fd77::1 --join-file "$dir/join" 2>"$dir/server.log" &
for _ in $(seq 100); do [ -s "$dir/server/server.json" ] && break; sleep 0.1; done

echo "path: EF is bleached by nyc1's second hop"
at nyc1 "$NETLAT" path 10.77.0.1 --dscp 0,46 --json >"$OUT/path4.json"
at nyc1 "$NETLAT" path fd77::1 --dscp 0,46 --json >"$OUT/path6.json"

echo "probe: marks, hops and NAT, over both families"
at nyc1 "$NETLAT" probe --join "@$dir/join" --name nyc1 --kind rtp,udp,dns,http --dscp 0,34,46,54 --duration 8 --json >"$OUT/nyc1.json"
at fra1 "$NETLAT" probe --join "@$dir/join" --name fra1 --kind rtp,udp,dns,http,tls,icmp --ecn all --duration 8 --json >"$OUT/fra1.json"

echo "probe: 64 DSCP and 4 ECN, both ways, within ten seconds of sending"
at nyc1 "$NETLAT" probe --join "@$dir/join" --name all1 --family 4 --kind udp --dscp all --ecn all --duration 10 --json >"$OUT/all.json"

echo "probe without the right to trace: where is null, one line says why"
at nyc1 setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$NETLAT" probe --join "@$dir/join" --kind udp --duration 6 --json >"$OUT/plain.json"

echo "running workers: hops up by the worker, hops down by the server, and a worker without the right"
workers=()
instead_at nyc1 "$NETLAT" worker --join "@$dir/join" --name up1 --data-dir "$dir/up1" 2>"$dir/up1.log" &
workers+=($!)
instead_at ams3 "$NETLAT" worker --join "@$dir/join" --name both1 --data-dir "$dir/both1" 2>"$dir/both1.log" &
workers+=($!)
instead_at nyc1 setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$NETLAT" worker --join "@$dir/join" --name bare1 --data-dir "$dir/bare1" 2>"$dir/bare1.log" &
workers+=($!)
for _ in $(seq 45); do
    sleep 2
    for worker in up1 both1 bare1; do "$NETLAT" report --data-dir "$dir/server" --worker $worker --json >"$OUT/$worker.json"; done
    # Placed, or a reason other than that nobody has looked yet.
    grep -q "not traced yet" "$OUT/up1.json" "$OUT/both1.json" "$OUT/bare1.json" || break
done
kill "${workers[@]}"
wait "${workers[@]}" || true

echo "probe through a transparent proxy for TCP and a DNS server that answers by itself"
at nyc1.hop1 nft -f - <<'N'
add table ip proxy
add chain ip proxy pre { type nat hook prerouting priority dstnat; }
add rule ip proxy pre tcp dport 8620 redirect to :9999
add rule ip proxy pre udp dport 8621 redirect to :9998
N
at nyc1.hop1 python3 -c '
import asyncio

async def copy(reader, writer):
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()
    writer.close()

async def client(reader, writer):
    far_reader, far_writer = await asyncio.open_connection("10.77.0.1", 8620)
    await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer), return_exceptions=True)

class Resolver(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, query, address):
        self.transport.sendto(query[:2] + b"\x81\x83" + query[4:], address)

async def main():
    await asyncio.start_server(client, "0.0.0.0", 9999)
    await asyncio.get_running_loop().create_datagram_endpoint(Resolver, ("0.0.0.0", 9998))
    await asyncio.sleep(60)

asyncio.run(main())
' &
for _ in $(seq 100); do [ -n "$(at nyc1.hop1 ss -Hltn 'sport = :9999')" ] && break; sleep 0.1; done
at nyc1 "$NETLAT" probe --join "@$dir/join" --name proxied --family 4 --kind rtp,udp,dns,http,tls --duration 8 --json >"$OUT/proxied.json"

echo "probe through a proxy on the first hop that keeps source address and hop count: another TCP speaks"
worker=$(at nyc1 ip -4 -o addr show scope global | awk '{split($4, a, "/"); print a[1]; exit}')
at nyc1.hop1 sysctl -qw net.ipv4.tcp_timestamps=0
at nyc1.hop1 nft -f - <<N
flush table ip proxy
add rule ip proxy pre tcp dport 8620 redirect to :9997
add chain ip proxy post { type nat hook postrouting priority srcnat; }
add rule ip proxy post tcp dport 8620 ip daddr 10.77.0.1 snat to $worker
N
at nyc1.hop1 python3 -c '
import asyncio, socket

async def copy(reader, writer):
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()
    writer.close()

async def client(reader, writer):
    far = socket.socket()
    far.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 63)
    far.setblocking(False)
    await asyncio.get_running_loop().sock_connect(far, ("10.77.0.1", 8620))
    far_reader, far_writer = await asyncio.open_connection(sock=far)
    await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer), return_exceptions=True)

async def main():
    await asyncio.start_server(client, "0.0.0.0", 9997)
    await asyncio.sleep(60)

asyncio.run(main())
' &
for _ in $(seq 100); do [ -n "$(at nyc1.hop1 ss -Hltn 'sport = :9997')" ] && break; sleep 0.1; done
at nyc1 "$NETLAT" probe --join "@$dir/join" --name hidden --family 4 --kind rtp,http,tls --duration 8 --json >"$OUT/hidden.json"
LAB
NETLAT=$netlat OUT=$PWD/target timeout 400 "$lab" run "$scenario" server bash "$PWD/target/in-lab.sh"

python3 - <<'PY'
import json

def load(name):
    return json.load(open(f"target/{name}.json"))

def expect(condition, message):
    if not condition:
        raise SystemExit(f"check-lab: {message}")

for city in load("clock")["cities"]:
    clock = city["clock"]
    expect(clock["steps"] == 1, f"{city['city']}: {clock}")
    # The worker's clock runs fast, so the server's falls behind it.
    expect(abs(clock["skew_ppm"] + 200) < 20, f"{city['city']}: {clock}")

for family in "46":
    changes = load(f"path{family}")["changes"]
    expect(len(changes) == 1, f"path{family}: one change, not {changes}")
    expect(changes[0]["where"] == {"after_hop": 2, "by_hop": 3}, f"path{family}: {changes[0]}")

for path in load("nyc1")["paths"]:
    for marks in path["remarking"]:
        if path["direction"] == "up":
            expect(marks["pathology"] == "partial", f"nyc1 {path['family']} {marks}")
            expect(marks["where"] == {"after_hop": 2, "by_hop": 3}, f"nyc1 {path['family']} {marks['kind']} where {marks['where']}")
        elif marks["kind"] != "http" or path["family"] != "ipv4":
            expect(marks["pathology"] == "none" and marks["where"] is None, f"nyc1 down {marks}")

fra1 = load("fra1")["paths"]
seen = {(p["direction"], p["family"], m["kind"]): m for p in fra1 for m in p["remarking"]}
for family in ("ipv4", "ipv6"):
    for kind in ("rtp", "udp", "dns"):
        expect(seen["up", family, kind]["ecn"] == "bleached", f"fra1 up {family} {kind} {seen['up', family, kind]}")
        expect(seen["up", family, kind]["where"] == {"after_hop": 1, "by_hop": 2}, f"fra1 up {family} {kind} where")
        expect(seen["down", family, kind]["ecn"] == "none", f"fra1 down {family} {kind}")
    expect(("round-trip", family, "icmp") in seen, f"fra1 {family}: no icmp")
for path in fra1:
    if path["direction"] == "up" and path["family"] == "ipv4":
        expect(path["from"] and not path["from"].startswith("10.77.4.0"), "the NAT's address is shown")

for path in load("all")["paths"]:
    for marks in path["remarking"]:
        up = path["direction"] == "up"
        counts = {}
        for entry in marks["map"]:
            counts[entry["dscp_sent"]] = counts.get(entry["dscp_sent"], 0) + entry["count"]
        ecn = {entry["ecn_sent"] for entry in marks["ecn_map"] if entry["count"] >= 5}
        expect(set(counts) == set(range(64)) and min(counts.values()) >= 5 and len(ecn) == 4, f"all {path['direction']}: {counts} {ecn}")
        expect(marks["pathology"] == ("partial" if up else "none") and marks["ecn"] == "none", f"all {path['direction']}: {marks['pathology']} {marks['ecn']}")

for path in load("proxied")["paths"]:
    for marks in path["remarking"]:
        is_flagged = "intercepted" in marks["flags"]
        expect(is_flagged == (marks["kind"] in ("http", "tls", "dns")), f"proxied {path['direction']} {marks}")
        expect(not is_flagged or marks["pathology"] == "inconclusive", f"proxied {path['direction']} {marks}")
    if path["direction"] == "up":
        expect(path["from"] == "10.77.2.1", f"proxied: the path is shown from {path['from']}")

for path in load("hidden")["paths"]:
    for marks in path["remarking"]:
        is_flagged = "intercepted" in marks["flags"]
        # What the server sends back is not told apart: the worker sees no SYN.
        expect(path["direction"] == "down" or is_flagged == (marks["kind"] in ("http", "tls")), f"hidden {path['direction']} {marks}")
    if path["direction"] == "up":
        expect(path["from"] == "10.77.2.1", f"hidden: the path is shown from {path['from']}")

def where(name, direction):
    return {(p["family"], m["kind"]): m["where"] for p in load(name)["paths"] if p["direction"] == direction
            for m in p["remarking"] if m["pathology"] not in ("none", "inconclusive")}

expect(set(map(str, where("up1", "up").values())) == {"{'after_hop': 2, 'by_hop': 3}"}, f"up1: {where('up1', 'up')}")
expect(len(where("up1", "up")) == 4 and not where("up1", "down"), f"up1: {load('up1')['untested']}")
# Seen from the worker its first router clears the bits; seen from the server its first one does: it is the only one.
for direction in ("up", "down"):
    found = where("both1", direction)
    expect(len(found) == 4, f"both1 {direction}: {found}")
    expect(set(map(str, found.values())) == {"{'after_hop': 1, 'by_hop': 2}"}, f"both1 {direction}: {found} {load('both1')['untested']}")
expect(set(where("bare1", "up").values()) == {None}, f"bare1: {where('bare1', 'up')}")
expect(any(line.startswith("where, bare1 up") and "CAP_NET_RAW" in line for line in load("bare1")["untested"]), f"bare1: {load('bare1')['untested']}")

plain = load("plain")
expect(any("CAP_NET_RAW" in line for line in plain["untested"]), f"no line on CAP_NET_RAW in {plain['untested']}")
expect(all(m["where"] is None for p in plain["paths"] for m in p["remarking"]), "where is not null")
print("check-lab: all facts hold")
PY
