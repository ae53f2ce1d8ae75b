"""The worker's watch of DNS must have seen every library look up the media host that it was sent to."""
import json, sys

records = [json.loads(line) for line in open(sys.argv[1])]
seen = [r for r in records if r["metric"] == "media_dns" and r["dns_us"] is not None and r["addresses"]]
for line in open(sys.argv[2]):
    name, began, ended = line.rstrip("\n").split("\t")
    if name == "hikari":
        # It hands the media host to a voice component that brings its own connection; there is none here.
        continue
    own = [r for r in seen if int(began) <= r["at_us"] <= int(ended)]
    if not own:
        sys.exit(f"interop-discord: {name} looked up no media host that the watch saw, of {len(seen)}")
    took = sorted(r["dns_us"] for r in own)
    print(f"ok: {name} looked up {', '.join(sorted({r['target'] for r in own}))}, {took[0]} to {took[-1]} us")
