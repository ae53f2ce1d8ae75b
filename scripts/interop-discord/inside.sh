#!/usr/bin/env bash
# Runs inside the namespace of interop-discord.sh.
set -euo pipefail
ip link set lo up
printf 'nameserver 127.0.0.1\n' >"$WORK/resolv.conf"
mount --bind "$WORK/resolv.conf" "$(readlink -f /etc/resolv.conf)"
cd "$WORK"
python=$LIBRARIES/py/bin/python
here=$HERE
emulator=
watching=()

stop() {
    [ -z "$emulator" ] || { kill "$emulator" 2>/dev/null && wait "$emulator" 2>/dev/null || true; }
    emulator=
}
trap 'stop; [ ${#watching[@]} -eq 0 ] || kill "${watching[@]}" 2>/dev/null || true' EXIT

listens() { (exec 3<>/dev/tcp/127.0.0.1/8790) 2>/dev/null; }
start() { # configuration
    stop
    "$NETLAT" emulate discord --config "$1" 2>emulator.log &
    emulator=$!
    for _ in $(seq 100); do
        if listens; then return; fi
        kill -0 "$emulator" 2>/dev/null || break
        sleep 0.1
    done
    echo "interop-discord: the emulator did not start" >&2
    cat emulator.log >&2
    exit 1
}

export SSL_CERT_FILE=$WORK/ca.pem NODE_EXTRA_CA_CERTS=$WORK/ca.pem
export PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1

run() { # name command ...
    local name=$1
    shift
    printf -- '-- %s\n' "$name"
    local began
    began=$(date +%s%6N)
    if ! timeout --kill-after=5 120 "$@" >"$WORK/log" 2>&1; then
        echo "interop-discord: $name failed" >&2
        tail -n 60 "$WORK/log" >&2
        tail -n 20 emulator.log >&2
        return 1
    fi
    grep '^ok:' "$WORK/log"
    printf '%s\t%s\t%s\n' "$name" "$began" "$(date +%s%6N)" >>"$WORK/ran"
}

start "$here/emulator.toml"
# A worker beside them, which must see each of them look up the media host that it was sent to.
"$NETLAT" server --listen 127.0.0.1:8444 --advertise 127.0.0.1 --dashboard off --data-dir "$WORK/server" --join-file "$WORK/join" 2>server.log &
watching+=($!)
for _ in $(seq 100); do [ -s "$WORK/join" ] && break || sleep 0.1; done
"$NETLAT" worker --join "@$WORK/join" --name here1 --data-dir "$WORK/worker" --interface lo --media-every 3600 2>worker.log &
worker=$!
watching+=($worker)
for _ in $(seq 100); do grep -q 'watching the DNS of lo' worker.log && break || sleep 0.1; done
run "discord.py, zstd-stream" "$python" "$here/discordpy_bot.py" zstd
run "discord.py, zlib-stream" "$python" "$here/discordpy_bot.py" zlib
run "hikari" "$python" "$here/hikari_bot.py"
run "discord.js" node "$LIBRARIES/js/discordjs_bot.mjs"
kill -INT $worker && wait $worker
"$NETLAT" export --dataset discord --data-dir "$WORK/server" --format jsonl --out "$WORK/records.jsonl" >/dev/null
kill -INT "${watching[0]}" && wait "${watching[0]}"
watching=()
"$python" "$here/watched.py" "$WORK/records.jsonl" "$WORK/ran"
# The same without REST limits: every route is asked in a second.
sed 's/^identify_window_ms = 0$/&\nrest = false/' "$here/emulator.toml" >unlimited.toml
start unlimited.toml
run "REST against Discord's description" "$python" "$here/openapi.py" "$DESCRIPTION"
