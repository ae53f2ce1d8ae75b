#!/usr/bin/env bash
# Runs inside the namespace of check-check.sh.
set -euo pipefail
ip link set lo up
printf 'nameserver 127.0.0.1\n' >"$WORK/resolv.conf"
mount --bind "$WORK/resolv.conf" "$(readlink -f /etc/resolv.conf)"
cd "$WORK"
export HOME=$WORK XDG_CONFIG_HOME=$WORK SSL_CERT_FILE=$WORK/ca.pem PYTHONDONTWRITEBYTECODE=1
unset NETLAT_DISCORD_TOKEN
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
"$NETLAT" emulate discord --config "$HERE/emulator.toml" 2>emulator.log &
admin=http://127.0.0.1:8790
for _ in $(seq 100); do
    if curl -s "$admin/state" >/dev/null; then break; fi
    sleep 0.1
done
curl -sf "$admin/state" >/dev/null || { cat emulator.log >&2; exit 1; }

fault() { curl -sf -X POST -H 'content-type: application/json' -d "$1" "$admin/faults" >/dev/null; }
clear() { curl -sf -X DELETE "$admin/faults" >/dev/null; }
named() { # culprit options ...
    local culprit=$1 run
    shift
    for run in $(seq "$N"); do
        timeout 40 ${NETLAT_IN:+nsenter -n -t "$NETLAT_IN" --} "$NETLAT" check --json "$@" >found.json 2>err || { cat err >&2; return 1; }
        python3 - "$culprit" "$run" "$N" <<'END' || { cat found.json >&2; return 1; }
import json, sys
found = json.load(open("found.json"))
verdict = found["verdict"]
if verdict["culprit"] != sys.argv[1]:
    sys.exit(f"check-check: {sys.argv[1]} was expected, run {sys.argv[2]}: {verdict}")
if sys.argv[2] == sys.argv[3]:
    print(f"{sys.argv[1]}: {sys.argv[3]} of {sys.argv[3]}: {verdict['sentence']}")
END
    done
}

named nothing
python3 - <<'END'
import json
found = json.load(open("found.json"))
rows = {row["step"]: row for row in found["rows"]}
assert set(rows) == {"dns", "tcp", "tls", "rest", "gateway_hello", "gateway_heartbeat"}, rows
for row in found["rows"]:
    assert row["problem"] is None and row["app_ms"]["p50"] > 0, row
    if row["step"] != "dns":
        assert 0 < row["network_ms"] <= row["app_ms"]["max"], row
END

# Another delay each time it is asked for: nothing here knows the bounds.
fault '{"on": "dns", "delay_ms": 270}'
named resolver
clear
fault '{"on": "rest", "delay_ms": 600}'
named rest
clear
fault '{"on": "gateway", "event": "HEARTBEAT_ACK", "delay_ms": 520}'
named gateway
clear
fault '{"on": "rest", "effect": {"kind": "rate-limit", "scope": "global", "retry_after_ms": 3000}}'
named rate_limited
clear

# As the bot: a message's echo and a stay in voice, and nothing of either is left behind.
channel() { # its name
    curl -sf "$admin/state" | python3 -c '
import json, sys
print(next(c["id"] for g in json.load(sys.stdin)["guilds"] for c in g["channels"] if c["name"] == sys.argv[1]))' "$1"
}
talk=$(channel talk)
parlour=$(channel parlour)
closed=$(channel closed)
export NETLAT_DISCORD_TOKEN=$(python3 -c 'import tomllib, sys; print(tomllib.load(open(sys.argv[1], "rb"))["application"][0]["token"])' "$HERE/emulator.toml")
N=1 named nothing --channel "$talk" --voice "$parlour"
python3 - "$talk" <<'END'
import json, sys, urllib.request
found = json.load(open("found.json"))
rows = {row["step"]: row for row in found["rows"]}
for step in ("message_echo", "voice_connect", "voice_udp", "voice_heartbeat"):
    row = rows[step]
    assert row["problem"] is None and row["app_ms"]["min"] > 0, row
assert rows["message_echo"]["samples"] == 4 and rows["message_echo"]["network_ms"] > 0, rows["message_echo"]
assert rows["voice_heartbeat"]["samples"] == 3 and rows["voice_heartbeat"]["network_ms"] > 0, rows["voice_heartbeat"]
assert any(row["step"] == "dns" and "discord.media" in row["target"] for row in found["rows"]), found["rows"]
ask = lambda path: json.load(urllib.request.urlopen("http://127.0.0.1:8790" + path))
assert ask(f"/channels/{sys.argv[1]}/messages") == [], "a message was left"
state = ask("/state")
assert not state["voice_connections"], state["voice_connections"]
# The emulator's own stamps of the same messages: from the POST's arrival to the event's departure.
exchanges, since = [], 0
while page := ask(f"/exchanges?since={since}")["exchanges"]:
    exchanges += page
    since = page[-1]["number"] + 1
posts = [e for e in exchanges if e["kind"] == "rest" and e["name"].startswith("POST") and e["subject"]]
truth = []
for post in posts:
    events = [e for e in exchanges if e["kind"] == "dispatch" and e["name"] == "MESSAGE_CREATE" and e["subject"] == post["subject"]]
    assert len(events) == 1, (post, events)
    truth.append((events[0]["sent_ns"] - post["received_ns"]) / 1e6)
truth.sort()
print(f"message echo: {rows['message_echo']['app_ms']['p50']:.2f} ms, the emulator's own stamps {truth[(len(truth) - 1) // 2]:.2f} ms")
END
fault '{"on": "gateway", "event": "MESSAGE_CREATE", "delay_ms": 950}'
named messages --channel "$talk"
clear
fault '{"on": "rest", "delay_ms": 700}'
named rest --channel "$talk"
clear
fault '{"on": "gateway", "event": "HEARTBEAT_ACK", "delay_ms": 480}'
named gateway --channel "$talk"
clear
fault '{"on": "rest", "route": "POST /channels/{channel_id}/messages", "effect": {"kind": "rate-limit", "scope": "user", "retry_after_ms": 2000}}'
N=1 named rate_limited --channel "$talk"
clear
fault '{"on": "voice", "event": "HEARTBEAT_ACK", "delay_ms": 600}'
named voice --voice "$parlour"
clear
fault '{"on": "udp", "effect": {"kind": "drop"}}'
N=1 named route --voice "$parlour"
clear
fault '{"on": "gateway", "event": "MESSAGE_CREATE", "effect": {"kind": "drop"}}'
N=1 named messages --channel "$talk"
clear
fault '{"on": "voice", "effect": {"kind": "refuse-dave"}}'
N=1 named nothing --voice "$parlour"
clear
N=1 named messages --channel "$closed"
N=1 named messages --channel "$parlour"
N=1 named voice --voice "$talk"
curl -sf "$admin/channels/$talk/messages" | grep -qx '\[\]' || { echo "check-check: a message was left" >&2; exit 1; }
unset NETLAT_DISCORD_TOKEN

# A slow network: another Discord, behind a delay line of 75 ms each way.
unshare -n sleep 1000 &
middle=$!
unshare -n sleep 1000 &
distant=$!
in_distant() { nsenter -n -t "$distant" -- "$@"; }
in_middle() { nsenter -n -t "$middle" -- "$@"; }
for pid in "$middle" "$distant"; do
    for _ in $(seq 100); do
        [ "$(readlink "/proc/$pid/ns/net")" != "$(readlink /proc/self/ns/net)" ] && break
        sleep 0.05
    done
done
ip link add way0 type veth peer name near netns "$middle"
in_middle ip link add far type veth peer name way1 netns "$distant"
ip addr add 10.9.0.1/24 dev way0
ip link set way0 up
in_distant ip addr add 10.9.0.2/24 dev way1
in_distant ip link set way1 up
in_distant ip link set lo up
in_middle ip link set near up
in_middle ip link set far up
line='{ delay = { secs = 0, nanos = 75000000 }, ipdv = { secs = 0, nanos = 0 }, loss = 0.0, duplicate = 0.0, reorder = 0.0, reorder_by = { secs = 0, nanos = 0 } }'
in_middle "$NETLAT" lab-relay "$(printf 'seed = 1\nup = %s\ndown = %s\n' "$line" "$line")" < <(sleep 1000) >relay.log 2>&1 &
sed -e 's/127.0.0.1:443/10.9.0.2:443/; s/127.0.0.1:53/10.9.0.2:53/; s/ca.pem/distant.pem/' -e 's/^\[limits\]/[dns]\na = ["10.9.0.2"]\naaaa = []\n\n&/' "$HERE/emulator.toml" >distant.toml
in_distant "$NETLAT" emulate discord --config distant.toml 2>distant.log &
for _ in $(seq 100); do
    [ -s distant.pem ] && in_distant curl -s "$admin/state" >/dev/null && break
    sleep 0.1
done
cp resolv.conf near.conf
echo 'nameserver 10.9.0.2' >resolv.conf
SSL_CERT_FILE=$WORK/distant.pem named route || { cat relay.log distant.log >&2; in_distant ip addr >&2; in_middle ip addr >&2; exit 1; }
cat near.conf >resolv.conf

# A host without IPv4: a Discord of IPv6, and one whose names have IPv4 addresses only.
unshare -n sleep 1000 &
six=$!
in_six() { nsenter -n -t "$six" -- "$@"; }
until [ "$(readlink "/proc/$six/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
in_six ip link set lo up
in_six ip addr del 127.0.0.1/8 dev lo
emulate_six() { # addresses of its names
    sed -e 's/127.0.0.1:443/[::1]:443/; s/127.0.0.1:53/[::1]:53/; s/127.0.0.1:8443/[::1]:8443/; s/127.0.0.1:8790/[::1]:8790/; s/ca.pem/six.pem/' \
        -e "s/^\[limits\]/[dns]\n$1\n\n&/" "$HERE/emulator.toml" >six.toml
    rm -f six.pem
    (exec nsenter -n -t "$six" -- "$NETLAT" emulate discord --config six.toml 2>six.log) &
    emulator_six=$!
    for _ in $(seq 100); do
        [ -s six.pem ] && in_six curl -s 'http://[::1]:8790/state' >/dev/null && return
        sleep 0.1
    done
    cat six.log >&2
    return 1
}
echo 'nameserver ::1' >resolv.conf
emulate_six 'a = []\naaaa = ["::1"]'
NETLAT_IN=$six SSL_CERT_FILE=$WORK/six.pem N=1 named nothing
kill "$emulator_six" && wait "$emulator_six" 2>/dev/null || true
emulate_six 'a = ["192.0.2.1"]\naaaa = []'
NETLAT_IN=$six SSL_CERT_FILE=$WORK/six.pem N=1 named route
grep -q 'IPv4 addresses only and this host has no route' found.json || { cat found.json >&2; exit 1; }
kill "$emulator_six" "$six"
cat near.conf >resolv.conf

# A real bot, in Python: as it should be, then with its event loop blocked while messages come for it.
"$PYTHON" "$HERE/blocked_bot.py" >bot.log 2>&1 &
bot=$!
for _ in $(seq 200); do
    grep -q '^ready' bot.log && break
    sleep 0.1
done
grep -q '^ready' bot.log || { cat bot.log >&2; exit 1; }
named nothing --pid "$bot"
# Its gateway connection, on which nothing happens now, as the kernel's own tool prints it.
python3 - "$bot" <<'END'
import json, re, subprocess, sys
pid = sys.argv[1]
seen = {(c["local"], c["peer"]): c for c in json.load(open("found.json"))["process"]["connections"]}
assert any(c["is_known"] for c in seen.values()), seen
lines = subprocess.run(["ss", "-tinpH", "state", "established"], capture_output=True, text=True, check=True).stdout
lines = re.sub(r"\n\s+", " ", lines)
own = [line for line in lines.splitlines() if f"pid={pid}," in line]
checked = 0
for line in own:
    peer = tuple(line.split()[2:4])
    minrtt = re.search(r"minrtt:([\d.]+)", line)
    if peer in seen and minrtt:
        assert abs(float(minrtt[1]) - seen[peer]["min_rtt_ms"]) < 0.0011, (peer, line, seen[peer])
        again = re.search(r"retrans:\d+/(\d+)", line)
        assert int(again[1] if again else 0) == seen[peer]["retransmits"], (line, seen[peer])
        checked += 1
assert checked > 0, (own, seen)
print(f"ss -ti says the same of {checked} connection(s)")
END
message='{"user": "alice", "channel": "home/talk", "content": "hello"}'
talk() { while curl -sf -X POST -H 'content-type: application/json' -d "$message" "$admin/messages" >/dev/null; do sleep 0.15; done; }
talk &
talking=$!
named nothing --pid blocked_bot.py
kill -USR1 "$bot"
named process --pid "$bot"
kill "$talking"
kill "$bot" && wait "$bot" 2>/dev/null || true

# A process in a network namespace of its own, as in a container: looked into with the right to, else the right is named.
deaf='import socket, time; s = socket.create_connection(("10.9.0.2", 443)); s.send(b"GET /api/v10/gateway HTTP/1.1\r\nHost: discord.com\r\n\r\n"); time.sleep(300)'
instead_in_distant() { exec nsenter -n -t "$distant" -- "$@"; }
instead_in_distant "$PYTHON" -c "$deaf" &
contained=$!
sleep 1
named process --pid "$contained"
timeout 40 setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin "$NETLAT" check --pid "$contained" >out 2>err || { cat err >&2; exit 1; }
grep -q "needs CAP_SYS_ADMIN to look into" out || { cat out >&2; exit 1; }
kill "$contained"

# A process that ends while it is watched; and what cannot be.
sleep 4 &
timeout 40 "$NETLAT" check --json --pid $! >found.json
python3 -c 'import json; p=json.load(open("found.json"))["process"]; assert "there is no process" in p["problem"], p'
says() { # words options ...
    local words=$1
    shift
    if timeout 40 "$NETLAT" check "$@" >out 2>err; then echo "check-check: '$*' was taken" >&2; return 1; fi
    grep -q -- "$words" err || { echo "check-check: '$*' said:" >&2; cat err >&2; return 1; }
    [ "$(wc -l <err)" = 1 ] || { echo "check-check: more than one line:" >&2; cat err >&2; return 1; }
}
says "no running process is called 'no-such-bot'" --pid no-such-bot
says "there is no process 999999999" --pid 999999999
says "is no address of Discord" --api nonsense
says "only a bot may do that" --channel "$talk"
NETLAT_DISCORD_TOKEN=MTQwMDAwMDAwMDAwMDAwMDAwMQ.emulated.token-of-bot says "identifies a day" --voice "$parlour" --watch 60
# A name that does not resolve, a port where nobody listens, a certificate of somebody else, a proxy.
seen() { # words options ...
    local words=$1
    shift
    timeout 40 "$NETLAT" check "$@" >out 2>err || { cat err >&2; return 1; }
    grep -q -- "$words" out || { echo "check-check: '$*' printed:" >&2; cat out >&2; return 1; }
}
seen "NXDOMAIN" --api https://no-such-name.example/api/v10
seen "cannot be reached" --api https://discord.com:9/api/v10
HTTPS_PROXY=http://127.0.0.1:9 seen "HTTPS_PROXY is set"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout other.key -out other.pem -days 2 -subj /CN=other >/dev/null 2>&1
seen "somebody else answers" --ca other.pem
timeout 40 "$NETLAT" check --fail-on-finding --api https://discord.com:9/api/v10 >out 2>err && { echo "check-check: no status 3" >&2; exit 1; } || [ $? = 3 ]
echo "check-check: every culprit was named, and nobody where there was none"
