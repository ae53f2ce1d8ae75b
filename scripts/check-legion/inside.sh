# Run by check-legion.sh inside the namespaces.
set -euo pipefail
fail() {
    echo "check-legion: FAILED: $*" >&2
    tail -n 15 "$WORK"/*.log "$WORK"/data/*.log >&2 2>/dev/null || true
    exit 1
}
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
cd "$WORK"
export HOME=$WORK XDG_CONFIG_HOME=$WORK XDG_DATA_HOME=$WORK/share
export NETLAT_DISCORD_API=http://127.0.0.1:8420/api/v10 NETLAT_DISCORD_GATEWAY=ws://127.0.0.1:8420
TOKEN=MTQwMDAwMDAwMDAwMDAwMDAwMQ.emulated.token-of-bot
admin=http://127.0.0.1:8790
sed "s/delay_ms = 30\$/delay_ms = $DELAY_MS/" "$HERE/emulator.toml" >emulator.toml
"$NETLAT" emulate discord --config emulator.toml 2>emulator.log &
until_true 20 curl -s "$admin/state" || fail "the emulator does not run"

# No function: in the background that would be a shell of its own.
export NETLAT_DISCORD_TOKEN=$TOKEN
legion=("$NETLAT" legion --name nyc1 --file "$HERE/legion.toml" --install-dir "$LEGION")
"${legion[@]}" --data-dir data --json >said.jsonl 2>legion.log &
pid=$!
running() { [ "$(grep -c 'is in$' legion.log)" -ge "$1" ]; }
until_true 60 running 6 || fail "not every bot is in"
sleep "$((SECONDS_OF / 2))"
if [ -z "$FIGURES" ]; then
    # Killed without a word, it comes back.
    victim=$(pgrep -P "$pid" -o node) || fail "no node among the bots"
    kill -9 "$victim"
    until_true 30 running 7 || fail "the killed bot does not come back"
fi
sleep "$((SECONDS_OF - SECONDS_OF / 2))"
kill -INT "$pid"
wait "$pid" || fail "the Legion ends with an error"
[ -z "$(pgrep -f '((bot\.(py|mjs)|discordgo/bot)| Bot)$' || true)" ] || fail "a bot goes on"
! grep -rq "$TOKEN" said.jsonl legion.log data || fail "the token was written down"

# What the channel holds, as the server bot scrapes it.
"$NETLAT" bot -b -r server --standalone --data-dir server-bot 2>server-bot.log &
server_bot=$!
scraped() { "$NETLAT" export --dataset discord --data-dir "$XDG_DATA_HOME/netlat/discord" --format jsonl --out scraped.jsonl && [ $((10 * $(grep -c . scraped.jsonl))) -ge $((9 * $(grep -c '"counter"' said.jsonl))) ]; }
until_true 60 scraped || true
kill -INT "$server_bot"
wait "$server_bot" || fail "the server bot ends with an error"
python3 "$HERE/compare.py" || fail "the figures"
[ -z "$FIGURES" ] || exit 0

# Bots whose loop is blocked now and then say so of what was measured meanwhile.
NETLAT_LEGION_STALL=1000:300 timeout -s INT 12 "${legion[@]}" --only discord.py,hikari,discord.js,oceanic --data-dir stalled --json >stalled.jsonl 2>stalled.log || [ $? = 124 ] || fail "the Legion with stalls"
python3 - <<'END' || fail "stalls"
import json
records = [json.loads(line) for line in open("stalled.jsonl")]
for library in ("discord.py", "hikari", "discord.js", "oceanic"):
    own = [r for r in records if r.get("library", "").startswith(library + " ")]
    flagged = [r["app_us"] for r in own if "event-loop-stall" in r.get("flags", [])]
    clear = [r["app_us"] for r in own if not r.get("flags") and r.get("app_us")]
    assert len(flagged) >= 3 and len(clear) >= 3, (library, len(flagged), len(clear))
    print(f"{library}: {len(flagged)} of {len(own)} flagged as stalled, {max(flagged) / 1e3:.0f} ms at most, {max(clear) / 1e3:.0f} ms of the others")
END

# A wrong token: one line of the Legion, and one of each bot by itself.
if NETLAT_DISCORD_TOKEN=${TOKEN%bot}nobody "${legion[@]}" --data-dir data >out 2>err; then fail "a wrong token was taken"; fi
[ "$(wc -l <err)" = 1 ] && grep -q 'token' err || { cat err >&2; fail "a wrong token is not one line"; }
channel=$(curl -s "$admin/state" | python3 -c 'import json, sys; print(next(c["id"] for g in json.load(sys.stdin)["guilds"] for c in g["channels"] if c["name"] == "nyc1"))')
alone() { # its token, directory, program ...
    local token=$1 dir=$2
    shift 2
    (cd "$LEGION/$dir" && NETLAT_LEGION_CONTRACT=1 NETLAT_DISCORD_TOKEN=$token NETLAT_GUILD=1 NETLAT_CHANNEL=$channel NETLAT_WORKER=nyc1 \
        NETLAT_INTERVAL_S=1 timeout 30 "$@" < <(sleep 20) 2>"$WORK/alone-$dir.log")
}
for bot in "discordpy venv/bin/python bot.py" "hikari venv/bin/python bot.py" "discordjs node bot.mjs" "oceanic node bot.mjs" "discordgo ./bot" "jda java -cp lib/*:classes Bot"; do
    set -f
    set -- $bot
    set +f
    if alone "${TOKEN%bot}nobody" "$@" >out; then fail "$1 took a wrong token"; fi
    grep -q '"fatal".*"token"' out || { cat out >&2; fail "$1 does not say that the token is wrong"; }
    [ "$(grep -c fatal out)" = 1 ] || fail "$1 says it twice"
done

# A supervisor that is killed takes its bots along: their stdin ends.
"${legion[@]}" --data-dir data >out 2>killed.log &
pid=$!
until_true 60 grep -q 'is in$' killed.log || fail "no bot is in"
kill -9 "$pid"
gone() { [ -z "$(pgrep -f '((bot\.(py|mjs)|discordgo/bot)| Bot)$' || true)" ]; }
until_true 20 gone || fail "bots outlive their supervisor: $(pgrep -af '((bot\.(py|mjs)|discordgo/bot)| Bot)$')"

# A main bot brings discord.py along, and takes it with it; told not to, it does not.
mkdir -p "$XDG_DATA_HOME/netlat" netlat
ln -s "$LEGION" "$XDG_DATA_HOME/netlat/legion"
cp "$HERE/legion.toml" netlat/
"$NETLAT" bot -b -r main --name fra1 --data-dir main 2>main.log &
pid=$!
in_channel() { # channel words
    local id
    id=$(curl -s "$admin/state" | python3 -c 'import json, sys; print(next(c["id"] for g in json.load(sys.stdin)["guilds"] for c in g["channels"] if c["name"] == sys.argv[1]))' "$1")
    curl -s "$admin/channels/$id/messages" | grep -q "$2"
}
until_true 60 in_channel fra1 'library[^,]*discord.py 2' || fail "a main bot has no discord.py beside it"
kill -INT "$pid"
wait "$pid" || fail "the main bot ends with an error"
gone || fail "its discord.py goes on"
"$NETLAT" bot -b -r main --name ams1 --data-dir main2 --no-python 2>main2.log &
pid=$!
sleep 13
gone || fail "--no-python was not heeded"
kill -INT "$pid"
wait "$pid" || fail "the main bot ends with an error"

# Where memory is short, bots take turns: these two together would need more than there is.
{ printf 'bots = ["discord.py", "hikari"]\nmemory_mib = 80\nturn_s = 6\n'; grep -E '^(interval|post|stagger)_s' "$HERE/legion.toml"; } >short.toml
"$NETLAT" legion --name nyc1 --file short.toml --install-dir "$LEGION" --data-dir short 2>short.log >out &
pid=$!
turned() { [ "$(grep -c 'discord.py is in' short.log)" -ge 2 ] && grep -q 'hikari is in' short.log; }
for _ in $(seq 300); do
    [ "$(pgrep -fc 'bot\.py$')" -le 1 ] || fail "two bots run where one fits"
    turned && break
    sleep 0.2
done
turned && grep -q 'take turns' short.log || fail "no turns"
kill -INT "$pid"
wait "$pid" || fail "the Legion in turns ends with an error"

# A runtime that is missing: told, and the others go on; named, it is an error.
mkdir bare
for tool in python3 sh; do ln -s "$(command -v "$tool")" "bare/$tool"; done
if PATH=$WORK/bare "$NETLAT" legion setup --only discord.js --install-dir empty 2>err; then fail "a missing Node.js was not noticed"; fi
grep -q 'discord.js: node is not here: install Node.js' err || { cat err >&2; fail "what is missing is not named"; }
if "$NETLAT" legion --only discord.rb 2>err; then fail "an unknown bot was taken"; fi
grep -q "no bot called 'discord.rb'" err || { cat err >&2; fail "an unknown bot is not named"; }
if "$NETLAT" legion --only hikari --install-dir empty 2>err; then fail "an uninstalled bot ran"; fi
grep -q 'netlat legion setup --only hikari' err || { cat err >&2; fail "the setup is not named"; }
echo "check-legion: ok"
