"""Each library's figures beside the emulator's own stamps of the same exchanges, and what was posted beside what was said."""
import collections, json, os, statistics, sys, urllib.request

said = [json.loads(line) for line in open("said.jsonl")]
bots = {b["library"]: b for b in said.pop()["bots"]}
records = [{"flags": []} | r for r in said]
scraped = [json.loads(line) for line in open("scraped.jsonl")]
exchanges, since = [], 0
while page := json.load(urllib.request.urlopen(f"http://127.0.0.1:8790/exchanges?since={since}"))["exchanges"]:
    exchanges += page
    since = page[-1]["number"] + 1
problems = []


def p50(values):
    return statistics.median_low(sorted(values))


# The truth: what the emulator held each exchange for. Which connection is whose is told by the moment: a record's own stamps.
def span(e):
    return (e["sent_ns"] - e["received_ns"]) / 1e6


truth = {
    "gateway_heartbeat": [e for e in exchanges if e["kind"] == "heartbeat" and e["sent_ns"]],
    "rest": [e for e in exchanges if e["kind"] == "rest" and e["name"] == "GET /channels/{channel_id}" and e["sent_ns"]],
}
posts = {e["subject"]: e for e in exchanges if e["kind"] == "rest" and e["name"] == "POST /channels/{channel_id}/messages"}
echoes = [(posts[e["subject"]]["received_ns"], (e["sent_ns"] - posts[e["subject"]]["received_ns"]) / 1e6)
          for e in exchanges if e["kind"] == "dispatch" and e["name"] == "MESSAGE_CREATE" and e["subject"] in posts and e["sent_ns"]]
kept = collections.defaultdict(list)
for r in records:
    kept[(r["library"], r["metric"])].append(r)
print(f"{'library':20} {'metric':18} {'n':>4} {'truth':>8} {'library':>8} {'ours':>8} {'network':>8} {'overhead':>8}  off")
for (library, metric), all_of in sorted(kept.items()):
    timed = [r for r in all_of if r.get("app_us") is not None and "event-loop-stall" not in r["flags"]]
    pairs = []
    for r in timed:
        # What only the library measures has whole milliseconds, and is placed by its end.
        slack = 0 if r.get("sent_us") else 2e6
        begin = (r.get("sent_us") or r["at_us"]) * 1000 - slack
        end = (r.get("received_us") or r["at_us"] + r["app_us"]) * 1000 + slack
        if metric == "message_echo":
            match = [took for at, took in echoes if begin - 1e6 <= at <= end + 1e6]
        else:
            match = [span(e) for e in truth[metric] if begin - 1e6 <= e["received_ns"] and e["sent_ns"] <= end + 1e6]
        if match:
            pairs.append((r["app_us"] / 1e3, p50(match)))
    if len(pairs) < 10:
        problems.append(f"{library} {metric}: {len(pairs)} of {len(all_of)} have their exchange beside them")
        continue
    ours, true = p50([a for a, _ in pairs]), p50([b for _, b in pairs])
    own = [r["library_us"] / 1e3 for r in timed if r.get("library_us") is not None]
    network = [r["network_us"] / 1e3 for r in timed if r.get("network_us") is not None]
    overhead = [(r["app_us"] - r["network_us"]) / 1e3 for r in timed if r.get("network_us") is not None]
    if len(network) < 0.9 * len(timed):
        problems.append(f"{library} {metric}: {len(network)} of {len(timed)} have the network's share")
    cell = lambda values: f"{p50(values):8.2f}" if values else f"{'-':>8}"
    print(f"{library:20} {metric:18} {len(pairs):4} {true:8.2f} {cell(own)} {ours:8.2f} {cell(network)} {cell(overhead)}  {'' if abs(ours - true) <= max(2, true * 0.05) else f'+{ours - true:.1f} ms: the library itself'}".rstrip())
    # Wall-clock time decides nothing here but what cannot be: an application is not faster than what it waited for.
    if ours < true - 1:
        problems.append(f"{library} {metric}: {ours:.2f} ms, and Discord alone held it for {true:.2f} ms")
for library in ("discord.py", "hikari", "discord.js", "oceanic", "discordgo", "JDA"):
    metrics = {r["metric"] for r in records if r["library"].startswith(library + " ")}
    if metrics != {"gateway_heartbeat", "rest", "message_echo"}:
        problems.append(f"{library} measured {metrics}")
    bot = bots[library]
    if bot["state"] != "stopped" or bot["dropped_lines"] or not bot["start_ms"] or not bot["most_resident_mib"] or not bot["posted"]:
        problems.append(f"{library}: {bot}")
    if bot["restarts"] != (1 if library == "discord.js" and not os.environ["FIGURES"] else 0):
        problems.append(f"{library} was started again {bot['restarts']} times")
key = lambda r: (r["boot"], r["counter"])
seen = collections.Counter(map(key, scraped))
lost = {key(r) for r in records} - set(seen)
if max(seen.values(), default=0) > 1:
    problems.append("a record was kept twice")
# Of what was measured at the very end the next start posts what is left.
if len(lost) > len(records) * 0.1:
    problems.append(f"{len(lost)} of {len(records)} records are not in the channel")
if {r["library"] for r in scraped if r["worker"] == "nyc1"} != {r["library"] for r in records}:
    problems.append("not every library's records were scraped")
print(f"check-legion: {len(records)} records said, {len(scraped)} scraped, {len(lost)} wait for the next start")
for problem in problems:
    print("check-legion:", problem, file=sys.stderr)
sys.exit(1 if problems else 0)
