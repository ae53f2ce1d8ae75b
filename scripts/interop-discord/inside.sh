#!/usr/bin/env bash
# Runs inside the namespace of interop-discord.sh.
set -euo pipefail
ip link set lo up
printf 'nameserver 127.0.0.1\n' >"$WORK/resolv.conf"
mount --bind "$WORK/resolv.conf" "$(readlink -f /etc/resolv.conf)"
cd "$WORK"
python=$TOOLS/py/bin/python
here=$ROOT/scripts/interop-discord
emulator=

stop() {
    [ -z "$emulator" ] || { kill "$emulator" 2>/dev/null && wait "$emulator" 2>/dev/null || true; }
    emulator=
}
trap stop EXIT

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
    if ! timeout --kill-after=5 120 "$@" >"$WORK/log" 2>&1; then
        echo "interop-discord: $name failed" >&2
        tail -n 60 "$WORK/log" >&2
        tail -n 20 emulator.log >&2
        return 1
    fi
    grep '^ok:' "$WORK/log"
}

start "$here/emulator.toml"
run "discord.py, zstd-stream" "$python" "$here/discordpy_bot.py" zstd
run "discord.py, zlib-stream" "$python" "$here/discordpy_bot.py" zlib
run "hikari" "$python" "$here/hikari_bot.py"
run "discord.js" node "$TOOLS/js/discordjs_bot.mjs"
# The same without REST limits: every route is asked in a second.
sed 's/^identify_window_ms = 0$/&\nrest = false/' "$here/emulator.toml" >unlimited.toml
start unlimited.toml
run "REST against Discord's description" "$python" "$here/openapi.py" "$ROOT/../shared/data/discord-openapi.json"
