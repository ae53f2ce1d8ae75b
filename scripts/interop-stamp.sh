#!/usr/bin/env bash
# NetLat's STAMP against implementations that share no line with it: stamp-suite (sender and reflector), scapy's
# contrib/stamp.py and Wireshark's decoder. Open and authenticated, IPv4 and IPv6, with marks rewritten by the kernel.
#
#   NETLAT        the program (default: target/release/netlat)
#   STAMP_SUITE   cargo's install root of stamp-suite (default: target/stamp-suite; built once, some minutes)
#   SCAPY         a Python environment with scapy (default: target/scapy; made once)
#
# Needs unshare, ip, ss, nft, dumpcap, tshark, python3 with venv. Everything runs in namespaces of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
NETLAT=$(realpath -m "${NETLAT:-target/release/netlat}")
STAMP_SUITE=$(realpath -m "${STAMP_SUITE:-target/stamp-suite}")
SCAPY=$(realpath -m "${SCAPY:-target/scapy}")
peer=$STAMP_SUITE/bin/stamp-suite

if [ -z "${NETLAT_INTEROP_INSIDE:-}" ]; then
    [ -x "$NETLAT" ] || { echo "interop-stamp: no $NETLAT: cargo build --release -p netlat" >&2; exit 1; }
    [ -x "$peer" ] || nice cargo install stamp-suite --version 1.0.0 --locked --root "$STAMP_SUITE"
    if [ ! -x "$SCAPY/bin/python3" ]; then
        python3 -m venv "$SCAPY" && "$SCAPY/bin/pip" --quiet install scapy==2.6.1
    fi
    user=-Urnm
    unshare $user true 2>/dev/null || user=-nm
    exec env NETLAT_INTEROP_INSIDE=1 unshare $user bash "$0"
fi

work=$(mktemp -d)
pids=()
stop_all() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; done
    pids=()
}
trap 'stop_all; rm -rf "$work"' EXIT
ip link set lo up
port=10862
printf 'netlat interop key, not hex' >"$work/key"
printf 'quite another key, not hex' >"$work/other"
chmod 600 "$work/key" "$work/other"
checks=0

say() { printf '%s\n' "$*"; }
# Starts a program that serves $port and waits until it does.
serve() {
    timeout 120 "$@" >"$work/served.out" 2>"$work/served.err" &
    pids+=($!)
    for _ in $(seq 100); do
        [ -n "$(ss -Hlun "sport = :$port")" ] && return
        sleep 0.05
    done
    cat "$work/served.err" >&2
    echo "interop-stamp: does not serve: $*" >&2
    exit 1
}
# dumpcap, because tcpdump changes its user, which a user namespace does not let it.
capture() {
    rm -f "$work/packets.pcap"
    timeout 60 dumpcap -q -i lo -f "udp port $port" -w "$work/packets.pcap" 2>"$work/capture.err" &
    pids+=($!)
    for _ in $(seq 100); do
        [ -s "$work/packets.pcap" ] && return
        sleep 0.05
    done
    cat "$work/capture.err" >&2
    echo "interop-stamp: cannot capture on lo" >&2
    exit 1
}
rules() { { echo "table inet t { chain c { type filter hook prerouting priority mangle;"; cat; echo "}"; echo "}"; } | nft -f -; }
no_rules() { nft flush ruleset; }
ours() { timeout 60 "$NETLAT" stamp "$@" --json >"$work/ours.json" 2>"$work/ours.err" || { cat "$work/ours.err" >&2; exit 1; }; }
theirs() { timeout 60 "$peer" "$@" --output-format json >"$work/theirs.json" 2>"$work/theirs.err" || { cat "$work/theirs.err" >&2; exit 1; }; }

cat >"$work/verify.py" <<'PYTHON'
import json, sys
document, claims = json.load(open(sys.argv[1])), sys.argv[2:]
class Ours:
    """The report of `netlat stamp --json`."""
    def __init__(self, report):
        self.paths = {path["direction"]: path for path in report["paths"]}
    def marks(self, direction, field="dscp"):
        rows = self.paths[direction]["remarking"][0]["map" if field == "dscp" else "ecn_map"]
        return {(row[field + "_sent"], row[field + "_received"]) for row in rows}
    def received(self, direction):
        return sum(row["received"] for row in self.paths[direction]["classes"])
    def lost(self, direction):
        return sum(row["lost"] for row in self.paths[direction]["classes"])
    def named(self, direction):
        return self.paths[direction]["remarking"][0]["pathology"]
    def delays(self, direction):
        return [row["owd_ms"] for row in self.paths[direction]["classes"]]
scope = {"d": document}
if "paths" in document:
    our = Ours(document)
    scope.update({name: getattr(our, name) for name in ("marks", "received", "lost", "named", "delays", "paths")})
for claim in claims:
    try:
        true = eval(claim, scope)
    except Exception as error:
        true, claim = False, f"{claim} ({error!r})"
    if not true:
        print(json.dumps(document, indent=1), f"\ninterop-stamp: NOT TRUE: {claim}", sep="", file=sys.stderr)
        sys.exit(1)
PYTHON
verify() { # what, document, claims ...
    python3 "$work/verify.py" "$work/$2.json" "${@:3}" || { echo "interop-stamp: FAILED: $1" >&2; exit 1; }
    checks=$((checks + 1))
    say "ok: $1"
}

same='{(0, 0), (1, 1), (46, 46), (54, 54)}'
for address in 127.0.0.1 ::1; do
    case $address in *:*) target="[$address]:$port"; layer=ip6 ;; *) target="$address:$port"; layer=ip ;; esac

    # Our sender, their reflector.
    for state in "" --stateful-reflector; do
        serve "$peer" -i -S "$address" -o "$port" $state
        ours "$target" --dscp 0,1,46,54 --ecn 0,2 --rate 500 --count 400
        verify "our sender, their reflector ${state:---stateless} on $address: nothing changed, nothing lost" ours \
            'received("up") == received("down") == received("round-trip") == 400' 'lost("round-trip") == 0' \
            "marks('up') == marks('down') == $same" 'named("up") == named("down") == "none"' \
            'marks("up", "ecn") == {(0, 0), (2, 2)}' 'all(delays("up")) and all(delays("down"))'
        rules <<RULES
udp dport $port $layer dscp ef $layer dscp set cs0
udp sport $port $layer dscp ef $layer dscp set cs1
udp dport $port $layer ecn ect0 $layer ecn set not-ect
RULES
        ours "$target" --dscp 0,1,46,54 --ecn 0,2 --rate 500 --count 400
        no_rules
        verify "our sender, their reflector ${state:---stateless} on $address: each direction's rewriting" ours \
            'marks("up") == {(0, 0), (1, 1), (46, 0), (54, 54)}' 'marks("down") == {(0, 0), (1, 1), (46, 8), (54, 54)}' \
            'marks("up", "ecn") == {(0, 0), (2, 0)}'
        stop_all
    done

    serve "$peer" -i -S "$address" -o "$port" --stateful-reflector
    rules <<<"udp sport $port numgen inc mod 4 0 drop"
    ours "$target" --dscp 0 --rate 200 --count 100
    no_rules
    verify "our sender, their reflector on $address: replies that the kernel drops are lost on the way back" ours \
        'lost("up") == 0' '20 <= lost("down") <= lost("round-trip") == 25'
    stop_all

    # They do not verify a request's TLV HMAC unless told to, but always answer it.
    serve "$peer" -i -S "$address" -o "$port" -A A --hmac-key-file "$work/key" --verify-tlv-hmac --require-hmac
    ours "$target" --dscp 0,46 --rate 200 --count 40 --key-file "$work/key"
    verify "our sender, their reflector on $address, authenticated" ours \
        'received("up") == received("down") == 40' 'marks("up") == marks("down") == {(0, 0), (46, 46)}'
    ours "$target" --dscp 46 --rate 200 --count 10 --key-file "$work/other"
    verify "our sender, their reflector on $address, another key: no answer" ours 'received("round-trip") == 0'
    stop_all

    # Without TLVs they are a plain RFC 8762 reflector.
    serve "$peer" -i -S "$address" -o "$port" --tlv-mode ignore
    ours "$target" --dscp 0,46 --rate 200 --count 40
    verify "our sender, a reflector that knows no TLV, on $address: times, but no one-way mark" ours \
        'received("up") == received("down") == 40' 'marks("up") == marks("down") == set()' 'named("up") == named("down") == "inconclusive"'
    stop_all

    # Their sender, our reflector.
    for state in "" --stateful; do
        serve "$NETLAT" reflect --listen "$target" $state --json
        capture
        theirs -S "$address" -r "$address" -p "$port" -c 50 -d 5 -L 1 --ssid 7 --cos --dscp 46 --ecn 2 \
            --direct-measurement --follow-up-telemetry --timestamp-info --extra-padding 20
        unrecognized=$([ -n "$state" ] && echo 0 || echo 50)
        verify "their sender, our reflector ${state:-(stateless)} on $address" theirs \
            'd["packets_received"] == 50 and d["packets_lost"] == 0' \
            'd["measurements"]["tlv_validation"]["rejected_replies"] == 0' \
            "d['measurements']['tlv_validation']['flags'] == {'unrecognized': $unrecognized, 'malformed': 0, 'integrity_failed': 0, 'conformant_reflected': 0}"
        if [ -n "$state" ]; then
            verify "their sender reads our counters and follow-up telemetry on $address" theirs \
                'd["measurements"]["follow_up"]["matched"] == 49' 'd["measurements"]["follow_up"]["reverse_delay"]["min_ms"] > 0' \
                'd["measurements"]["direct_measurement"]["forward_missing"] == 0 and d["measurements"]["direct_measurement"]["reverse_missing"] == 0'
        fi
        sleep 0.5
        stop_all
        # Wireshark sees the reply's mark and reads the base packet; the Class of Service TLV is in what it calls padding.
        tshark -r "$work/packets.pcap" -d "udp.port==$port,twamp.test" -Y "udp.srcport == $port" -T fields \
            -e ip.dsfield -e ipv6.tclass -e twamp.test.sender_seq_number -e twamp.test.sender_ttl -e twamp.test.padding \
            >"$work/decoded" 2>/dev/null
        python3 - "$work/decoded" <<'PYTHON' || { echo "interop-stamp: FAILED: Wireshark on $address" >&2; exit 1; }
import sys
rows = [line.rstrip("\n").split("\t") for line in open(sys.argv[1])]
assert len(rows) == 50, len(rows)
for number, (dsfield, traffic_class, sequence, ttl, padding) in enumerate(rows):
    mark = int((dsfield or traffic_class), 16)
    assert mark == 0xBA, hex(mark)
    assert (int(sequence), int(ttl)) == (number, 255), (sequence, ttl)
    # EF asked for, EF and ECT(0) received, EC1 = ECT(0) done (draft-ietf-ippm-stamp-cos-ecn).
    assert "00040004bae8b000" in padding.replace(":", ""), padding
PYTHON
        checks=$((checks + 1))
        say "ok: Wireshark reads our replies ${state:-(stateless)} on $address"
    done

    serve "$NETLAT" reflect --listen "$target" --stateful --key-file "$work/key" --json
    theirs -S "$address" -r "$address" -p "$port" -c 30 -d 5 -L 1 -A A --hmac-key-file "$work/key" --verify-tlv-hmac --ssid 9 --cos --dscp 10 --ecn 1
    verify "their sender, our reflector on $address, authenticated" theirs \
        'd["packets_received"] == 30' 'd["measurements"]["tlv_validation"]["hmac"]["verified"] == 30'
    theirs -S "$address" -r "$address" -p "$port" -c 3 -d 5 -L 1 -A A --hmac-key-file "$work/other"
    verify "their sender, our reflector on $address, another key: no answer" theirs 'd["packets_received"] == 0'
    stop_all

    # Scapy, which speaks the open mode, in both of its timestamp formats.
    serve "$NETLAT" reflect --listen "$target" --json
    timeout 60 "$SCAPY/bin/python3" - "$address" "$port" <<'PYTHON' || { echo "interop-stamp: FAILED: scapy on $address" >&2; exit 1; }
import socket, sys, logging
logging.getLogger("scapy").setLevel(logging.CRITICAL)
from scapy.contrib.stamp import *
from scapy.all import RawVal
address, port = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as peer:
    peer.settimeout(2)
    peer.connect((address, port))
    peer.setsockopt(*((socket.IPPROTO_IPV6, 67) if family == socket.AF_INET6 else (socket.IPPROTO_IP, socket.IP_TOS)), 0xBA)
    for z in (0, 1):
        request = STAMPSessionSenderTestUnauthenticated(seq=77, ts=RawVal(bytes.fromhex("6501020305060708")), ssid=513,
            err_estimate=ErrorEstimate(S=0, Z=z, scale=3, multiplier=5),
            tlv_objects=[STAMPTestTLV(flags="U", type=4, len=4, value=bytes([0xB8, 0, 0, 0]))])
        peer.send(bytes(request))
        raw = peer.recv(2000)
        reply = STAMPSessionReflectorTestUnauthenticated(raw)
        assert len(raw) == len(bytes(request)) == 52, len(raw)
        assert (reply.seq, reply.seq_sender, reply.ssid, reply.ttl_sender) == (77, 77, 513, 64), reply.show(dump=True)
        estimate = reply.err_estimate_sender
        assert (estimate.Z, estimate.scale, estimate.multiplier) == (z, 3, 5), reply.show(dump=True)
        assert (reply.err_estimate.S, reply.err_estimate.Z, reply.err_estimate.multiplier > 0) == (0, z, True)
        assert raw[28:36] == bytes(request)[4:12]
        (tlv,) = reply.tlv_objects
        assert (int(tlv.flags), tlv.type, tlv.value) == (0, 4, bytes.fromhex("bae80000")), reply.show(dump=True)
PYTHON
    checks=$((checks + 1))
    say "ok: scapy's packets, our reflector on $address"
    stop_all
done
say "interop-stamp: $checks checks passed"
