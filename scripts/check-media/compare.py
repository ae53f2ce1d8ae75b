"""The watch's lookups against tcpdump's of the same interface."""
import collections, json, re, sys

work = sys.argv[1]
is_media = re.compile(r"^(?:c-[a-z]{3}\d+-[0-9a-f]+|[a-z-]+?-?\d+)\.discord\.media$")
types = {"1": "a", "28": "aaaa", "65": "https"}
records = [json.loads(line) for line in open(f"{work}/records.jsonl")]
seen = [r for r in records if r["metric"] == "media_dns"]
pings = [r for r in records if r["metric"] == "media_ping"]
own = {"far.discord.media", "nowhere.discord.media"}

# tcpdump's: from the first query of an id to its answer.
waiting, told = {}, collections.defaultdict(list)
for line in open(f"{work}/dns.tsv"):
    at, stream, *fields = line.rstrip("\n").split("\t")
    # A segment may hold several messages.
    for ident, response, name, kind in zip(*(field.split(",") for field in fields)):
        name = name.lower()
        if not is_media.match(name) and name != "alias.example.org" or kind not in types:
            continue
        key = (ident, name, kind, stream)
        if response in ("0", "False"):
            waiting.setdefault(key, float(at))
        elif key in waiting:
            name = "c-ams08-44aff7ca.discord.media" if name == "alias.example.org" else name
            asked = waiting.pop(key)
            told[(name, types[kind], "tcp" if stream else "udp")].append((asked, (float(at) - asked) * 1e6))
ours = collections.defaultdict(list)
for r in seen:
    kind = next(f for f in r["flags"] if f in ("a", "aaaa", "https", "other-type"))
    if r["dns_us"] is not None:
        ours[(r["target"], kind, "tcp" if "tcp" in r["flags"] else "udp")].append(r["dns_us"])
problems, worst = [], 0
# The worker's own queries are in tcpdump's and not in ours: it asks for what was seen, so after the first sighting of the name.
first = {}
for r in seen:
    if r["received_us"] is not None:
        first[r["target"]] = min(r["received_us"], first.get(r["target"], r["received_us"]))
for key, lookups in sorted(told.items()):
    got, times = ours.get(key, []), [took for _, took in lookups]
    before = [asked for asked, _ in lookups if key[0] in first and asked * 1e6 < first[key[0]]]
    if len(got) < len(before) or key[0] not in first and key[0] not in own:
        problems.append(f"{key}: tcpdump saw {len(before)} lookups before any of the worker's own, the watch {len(got)}")
    for one in got:
        nearest = min(abs(one - other) for other in times)
        worst = max(worst, nearest)
        if nearest > 1000:
            problems.append(f"{key}: {one} us, tcpdump has {times}")
for key in ours:
    if key not in told:
        problems.append(f"{key}: tcpdump has none")
names = {key[0] for key in ours}
for name in ["newark123", "slow-7", "slow-8", "rotterdam1234", "big1", "c-ams08-44aff7ca", "nosuch1", "c-fra03-0badcafe", "oregon5", "six3"]:
    if name + ".discord.media" not in names:
        problems.append(f"{name} was not seen")
if names & (own | {"latency.discord.media", "www.example.org"}):
    problems.append(f"seen though nobody asked or no media host: {names}")
for name in ["slow-7", "slow-8"]:
    times = [t for key, all in ours.items() if key[0].startswith(name) for t in all]
    if min(times) < 120_000:
        problems.append(f"{name} took {times}")
for kind in ["a", "aaaa"]:
    if ("rotterdam1234.discord.media", kind, "udp") not in ours or ("slow-8.discord.media", kind, "udp") not in ours:
        problems.append(f"Node's {kind} was not seen")
if not any(key[1] == "https" for key in ours):
    problems.append("no HTTPS record")
if ("big1.discord.media", "a", "tcp") not in ours:
    problems.append("the answer over TCP was not seen")
if not any(r["resolver"] == "127.0.0.53" and r["addresses"] == ["127.0.0.9"] for r in seen):
    problems.append("resolver or addresses are missing")
if not any("nxdomain" in r["flags"] for r in seen if r["target"].startswith("nosuch1")):
    problems.append("no nxdomain")
far = [r for r in pings if r["target"] == "far.discord.media:444"]
if not far or not all(r["dns_us"] and r["connect_us"] and r["icmp_us"] and "configured" in r["flags"] for r in far[:1]):
    problems.append(f"pings of the configured host: {far[:1]}")
nowhere = [r for r in pings if r["target"].startswith("nowhere")]
if not nowhere or not all("no-address" in r["flags"] for r in nowhere):
    problems.append(f"pings of what has no address: {nowhere[:1]}")
if not any(r["target"] == "rotterdam1234.discord.media" and r["icmp_us"] and r["connect_us"] for r in pings):
    problems.append("what was seen is not pinged")
# Its port is that of the client's connection, and the worker's own ones taught it nothing.
oregon = sorted((r for r in pings if r["target"] == "oregon5.discord.media"), key=lambda r: r["at_us"])
ports = [next((f for f in r["flags"] if f.startswith("port-")), None) for r in oregon]
if set(ports) != {None, "port-2053"} or ports != sorted(ports, key=bool):
    problems.append(f"ports of oregon5: {ports}")
if any(r["connect_us"] for r, port in zip(oregon, ports) if port is None) or not any(r["connect_us"] for r, port in zip(oregon, ports) if port):
    problems.append(f"connects to oregon5: {oregon}")
six = [r for r in pings if r["target"] == "six3.discord.media"]
if not six or not all(r["connect_us"] and r["icmp_us"] and r["addresses"] == ["::1"] for r in six[:1]):
    problems.append(f"pings of a host with IPv6 only: {six[:1]}")
bare = [r for r in pings if r["worker"] == "bare1"]
if not bare or not all(r["connect_us"] and "no-icmp" in r["flags"] and not r.get("icmp_us") for r in bare):
    problems.append(f"pings without the right: {bare[:1]}")
report = {(m["host"], m["source"]): m for m in json.load(open(f"{work}/report.json"))["media"]}
ams = report.get(("c-ams08-44aff7ca.discord.media", "dns"))
if not ams or ams["city"] != "amsterdam" or ams["dns_ms"] is None:
    problems.append(f"the report's Amsterdam: {ams}")
dropped = json.load(open(f"{work}/status.json"))["counters"]
if dropped.get("media_malformed", 0) < 300:
    problems.append(f"what was broken is not counted: {dropped}")
print(f"check-media: {sum(map(len, ours.values()))} lookups of {len(names)} hosts seen, off from tcpdump by at most {worst:.0f} us; {len(pings)} pings")
for problem in problems:
    print("check-media:", problem, file=sys.stderr)
sys.exit(1 if problems else 0)
