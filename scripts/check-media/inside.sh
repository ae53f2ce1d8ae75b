# Run by check-media.sh inside the namespaces.
set -euo pipefail
say() { printf '%s\n' "check-media: $*"; }
fail() {
    say "FAILED: $*" >&2
    tail -n 20 "$WORK"/*.log >&2 || true
    exit 1
}
# Until a command succeeds; a machine that stalls may take long.
until_true() { # seconds command ...
    local left=$(($1 * 5))
    shift
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ $left -gt 0 ] || return 1
        sleep 0.2
    done
}

ip link set lo up
printf 'nameserver 127.0.0.53\noptions timeout:5 attempts:1\n' >"$WORK/resolv.conf"
mount --bind "$WORK/resolv.conf" /etc/resolv.conf
printf 'hosts: files dns\n' >"$WORK/nsswitch.conf"
mount --bind "$WORK/nsswitch.conf" /etc/nsswitch.conf
export HOME=$WORK

python3 "$HERE/resolver.py" >"$WORK/resolver.log" 2>&1 &
until_true 20 grep -q ready "$WORK/resolver.log" || fail "the resolver does not run"

"$NETLAT" server --listen 127.0.0.1:8443 --advertise 127.0.0.1 --dashboard off --data-dir "$WORK/server" --join-file "$WORK/join" >"$WORK/server.log" 2>&1 &
until_true 30 test -s "$WORK/join" || fail "the server does not run"
filter=()
[ "$DUMP" = dumpcap ] && filter=(-f)
$DUMP -i lo -s 0 -w "$WORK/dns.pcap" "${filter[@]}" "port 53" >"$WORK/tcpdump.log" 2>&1 &
tcpdump=$!
until_true 20 grep -qi 'listening\|capturing\|file:'  "$WORK/tcpdump.log" || fail "tcpdump does not run"
"$NETLAT" worker --join "@$WORK/join" --name ams1 --data-dir "$WORK/worker" --interface lo \
    --media far.discord.media:444 --media nowhere.discord.media --media-every 2 >"$WORK/worker.log" 2>&1 &
worker=$!
until_true 20 grep -q 'watching the DNS of lo' "$WORK/worker.log" || fail "the worker does not watch"

python3 "$HERE/ask.py" "$CHROMIUM" || fail "the clients"
# The last that is waited for: a ping of the port to which the last client connected.
port_is_known() { "$NETLAT" export --dataset discord --data-dir "$WORK/server" --format jsonl --out "$WORK/so-far.jsonl" && grep -q port-2053 "$WORK/so-far.jsonl"; }
until_true 30 port_is_known || fail "no ping of the port that was connected to"
sleep 3
kill -0 $worker || fail "the worker ended"
kill -INT $worker && wait $worker || fail "the worker ends with an error"
sleep 1
kill -INT $tcpdump && wait $tcpdump || true
# Without any right to ICMP the rest is measured, and it is said; a host name of its own cannot break it.
echo "1 0" >/proc/sys/net/ipv4/ping_group_range
"$NETLAT" server join --data-dir "$WORK/server" >"$WORK/join2"
setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$NETLAT" worker --join "@$WORK/join2" --name bare1 --data-dir "$WORK/bare" \
    --media 127.0.0.9 --media-every 1 >"$WORK/bare.log" 2>&1 &
bare=$!
until_true 20 grep -q 'not pinged by ICMP over ipv4.*ping_group_range' "$WORK/bare.log" || fail "the missing right is not named"
sleep 4
kill -INT $bare && wait $bare || fail "the bare worker ends with an error"
"$NETLAT" export --dataset discord --data-dir "$WORK/server" --format jsonl --out "$WORK/records.jsonl" >/dev/null
"$NETLAT" report --data-dir "$WORK/server" --since 1h --json >"$WORK/report.json"
"$NETLAT" report --data-dir "$WORK/server" --since 1h | sed -n '/media hosts/,$p'
tshark -r "$WORK/dns.pcap" -Y dns -T fields -E separator=/t -E occurrence=a -E aggregator=, -e frame.time_epoch -e tcp.stream \
    -e dns.id -e dns.flags.response -e dns.qry.name -e dns.qry.type >"$WORK/dns.tsv" 2>/dev/null
"$NETLAT" server status --data-dir "$WORK/server" --json >"$WORK/status.json"
python3 "$HERE/compare.py" "$WORK" || fail "the figures"

say "ok"
