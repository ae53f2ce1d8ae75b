"""Asks every REST route of Discord's own API description (argument: the file) and validates each answer against it."""

import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

import jsonschema

import emulator

BASE = "https://discord.com/api/v10"
TOKEN = "MTQwMDAwMDAwMDAwMDAwMDAwNA.emulated.token-of-checker"
SPEC = json.load(open(sys.argv[1]))
VIOLATIONS, COVERED = [], set()


def template_of(method, path):
    """The description's path for a request; literal segments go before parameters."""
    segments = path.strip("/").split("/")
    candidates = []
    for template, operations in SPEC["paths"].items():
        parts = template.strip("/").split("/")
        fits = len(parts) == len(segments) and all(p.startswith("{") or p == s for p, s in zip(parts, segments))
        if fits and method.lower() in operations:
            candidates.append((sum(part.startswith("{") for part in parts), template))
    return min(candidates)[1] if candidates else None


def validator(schema):
    return jsonschema.Draft202012Validator({"$ref": "#/x", "x": schema, "components": SPEC["components"]},
                                           format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)


def resolved(value):
    return SPEC["components"]["responses"][value["$ref"].rsplit("/", 1)[1]] if "$ref" in value else value


def check(method, path, status, headers, body):
    template = template_of(method, path.split("?")[0])
    assert template, f"{method} {path} is not in the description"
    responses = SPEC["paths"][template][method.lower()]["responses"]
    declared = responses.get(str(status)) or responses.get(f"{status // 100}XX")
    name = f"{method} {template} -> {status}"
    if declared is None:
        VIOLATIONS.append(f"{name}: not a declared status")
        return
    content = resolved(declared).get("content", {}).get("application/json")
    if content is None:
        if body:
            VIOLATIONS.append(f"{name}: a body where none is declared")
    elif headers.get("Content-Type") != "application/json":
        VIOLATIONS.append(f"{name}: Content-Type {headers.get('Content-Type')}")
    else:
        for error in validator(content["schema"]).iter_errors(json.loads(body)):
            best = jsonschema.exceptions.best_match([error])
            VIOLATIONS.append(f"{name}: {'/'.join(map(str, best.absolute_path))}: {best.message[:300]}")
    if status < 300:
        COVERED.add((method, template))


def ask(method, path, body=None, expect=None, token=TOKEN):
    headers = {"User-Agent": "DiscordBot (https://example.org, 1)"}
    if token:
        headers["Authorization"] = f"Bot {token}"
    data = None
    if body is not None:
        data = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(BASE + path, data=data, method=method, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=10)
    except urllib.error.HTTPError as error:
        answer = error
    text = answer.read()
    check(method, path, answer.status, answer.headers, text)
    if expect is not None:
        assert answer.status == expect, f"{method} {path}: {answer.status} {text[:300]}"
    else:
        assert answer.status < 300, f"{method} {path}: {answer.status} {text[:300]}"
    return json.loads(text) if text else None


def interaction(command, options=None):
    """A fresh one, with its token as only the bot's gateway session would see it: read from the emulator's own list."""
    used = emulator.call("POST", "/interactions", {
        "user": "alice", "channel": "home/checker", "command": command, "options": options or {}})
    return used["id"], emulator.call("GET", f"/interactions/{used['id']}")["token"]


def main():
    state = emulator.call("GET", "/state")
    home = next(guild for guild in state["guilds"] if guild["name"] == "home")
    guild = home["id"]
    channel = next(c["id"] for c in home["channels"] if c["name"] == "checker")
    alice = next(user["id"] for user in state["users"] if user["name"] == "alice")
    me = ask("GET", "/users/@me")["id"]

    ask("GET", "/gateway", token=None)
    ask("GET", "/gateway/bot")
    ask("GET", "/voice/regions")
    ask("GET", "/soundboard-default-sounds")
    ask("GET", "/applications/@me")
    ask("PATCH", "/applications/@me", {})
    ask("GET", "/oauth2/applications/@me")
    ask("PATCH", "/users/@me", {"username": "checker"})
    ask("GET", f"/users/{alice}")
    ask("GET", "/users/@me/guilds")
    ask("GET", "/users/@me/guilds?with_counts=true")
    ask("POST", "/users/@me/channels", {"recipient_id": alice})

    ask("GET", f"/guilds/{guild}")
    ask("GET", f"/guilds/{guild}?with_counts=true")
    ask("PATCH", f"/guilds/{guild}", {"name": "home"})
    ask("GET", f"/guilds/{guild}/channels")
    overwrites = [{"id": alice, "type": 1, "allow": "1024", "deny": "0"}]
    made = [ask("POST", f"/guilds/{guild}/channels", body) for body in (
        {"name": "made here", "topic": "t", "permission_overwrites": overwrites},
        {"name": "voice", "type": 2}, {"name": "category", "type": 4}, {"name": "stage", "type": 13})]
    ask("PATCH", f"/guilds/{guild}/channels", [{"id": made[0]["id"], "parent_id": made[2]["id"], "position": 3}])
    for one in made:
        ask("GET", f"/channels/{one['id']}")
        ask("PATCH", f"/channels/{one['id']}", {"name": "renamed"})
    for one in made:
        ask("DELETE", f"/channels/{one['id']}")
    ask("GET", f"/guilds/{guild}/members?limit=100")
    ask("GET", f"/guilds/{guild}/members/{alice}")
    ask("GET", f"/guilds/{guild}/roles")
    role = ask("POST", f"/guilds/{guild}/roles", {"name": "made", "permissions": "1024", "color": 255})
    ask("PATCH", f"/guilds/{guild}/roles", [{"id": role["id"], "position": 1}])
    ask("PATCH", f"/guilds/{guild}/members/{me}", {"nick": "checks"})
    ask("PUT", f"/guilds/{guild}/members/{alice}", {"access_token": "x"})

    texts = ["plain", f"<@{alice}> and <@{me}>", "@everyone"]
    sent = [ask("POST", f"/channels/{channel}/messages", {"content": text, "nonce": "n1"}) for text in texts]
    rich = {"embeds": [{"title": "t", "description": "d", "color": 1, "fields": [{"name": "n", "value": "v"}],
                        "footer": {"text": "f"}, "author": {"name": "a"}, "url": "https://example.org/"}],
            "components": [{"type": 1, "components": [
                {"type": 2, "style": 1, "label": "press", "custom_id": "press"},
                {"type": 2, "style": 5, "label": "see", "url": "https://example.org/"}]},
                {"type": 1, "components": [{"type": 3, "custom_id": "menu", "options": [{"label": "l", "value": "v"}]}]}]}
    buttons = ask("POST", f"/channels/{channel}/messages", rich)
    reply = ask("POST", f"/channels/{channel}/messages",
                {"content": "reply", "message_reference": {"message_id": sent[0]["id"]}})
    emulator.call("POST", "/reactions", {"user": "alice", "channel": channel, "message": sent[0]["id"], "emoji": "👍"})
    emoji = urllib.parse.quote("👍")
    ask("PUT", f"/channels/{channel}/messages/{sent[0]['id']}/reactions/{emoji}/@me")
    ask("GET", f"/channels/{channel}/messages/{sent[0]['id']}")
    ask("DELETE", f"/channels/{channel}/messages/{sent[0]['id']}/reactions/{emoji}/@me")
    ask("PATCH", f"/channels/{channel}/messages/{sent[1]['id']}", {"content": "edited"})
    for query in ("", "?limit=2", f"?before={reply['id']}", f"?after={sent[0]['id']}", f"?around={sent[1]['id']}"):
        ask("GET", f"/channels/{channel}/messages{query}")
    ask("POST", f"/channels/{channel}/typing")
    ask("DELETE", f"/channels/{channel}/messages/{reply['id']}")
    ask("POST", f"/channels/{channel}/messages/bulk-delete", {"messages": [sent[1]["id"], sent[2]["id"]]})

    commands = f"/applications/{me}/commands"
    of_guild = f"/applications/{me}/guilds/{guild}/commands"
    options = [{"type": 3, "name": "what", "description": "d", "required": False, "choices": [{"name": "a", "value": "a"}]},
               {"type": 4, "name": "count", "description": "d", "min_value": 1, "max_value": 9}]
    ask("POST", commands, {"name": "check", "description": "d", "options": options}, expect=201)
    ask("POST", commands, {"name": "check", "description": "again", "options": options}, expect=200)
    ask("GET", commands)
    ask("GET", commands + "?with_localizations=true")
    ask("PUT", commands, [{"name": "check", "description": "d", "options": options}, {"name": "User thing", "type": 2}])
    ask("POST", of_guild, {"name": "local", "description": "d", "default_member_permissions": "0"}, expect=201)
    ask("GET", of_guild)
    nested = [{"type": 2, "name": "task", "description": "d", "options": [
        {"type": 1, "name": "start", "description": "d", "options": [{"type": 6, "name": "who", "description": "d"}]}]}]
    ask("PUT", of_guild, [{"name": "board", "description": "d", "options": nested}])

    def callback(id, token, body, query="", expect=None):
        return ask("POST", f"/interactions/{id}/{token}/callback{query}", body, token=None, expect=expect)

    id, token = interaction("check", {"what": "a", "count": 3})
    callback(id, token, {"type": 4, "data": {"content": "answer"}}, "?with_response=true")
    callback(id, token, {"type": 4, "data": {"content": "again"}}, expect=400)
    hook = f"/webhooks/{me}/{token}"
    ask("GET", hook, token=None)
    ask("POST", f"{hook}?wait=true", {"content": "followup"}, token=None)
    ask("GET", f"{hook}/messages/@original", token=None)
    ask("PATCH", f"{hook}/messages/@original", {"content": "changed"}, token=None)
    ask("DELETE", f"{hook}/messages/@original", token=None)
    id, token = interaction("board", {"task": {"start": {"who": alice}}})
    callback(id, token, {"type": 5}, "?with_response=true")
    pressed = emulator.call("POST", "/presses", {
        "user": "alice", "channel": channel, "message": buttons["id"], "custom_id": "press"})["id"]
    token = emulator.call("GET", f"/interactions/{pressed}")["token"]
    callback(pressed, token, {"type": 7, "data": {"content": "pressed"}}, "?with_response=true")
    id, token = interaction("check")
    callback(id, token, {"type": 5, "data": {"flags": 64}}, expect=204)
    ask("PATCH", f"/webhooks/{me}/{token}/messages/@original", {"content": "late"}, token=None)

    # Errors, each as the description says.
    ask("GET", "/users/@me", token="wrong", expect=401)
    ask("GET", f"/users/{me[:-3]}999", expect=404)
    ask("GET", f"/channels/{guild}", expect=404)
    ask("POST", f"/channels/{channel}/messages", {"content": "x" * 2001}, expect=400)
    ask("POST", f"/channels/{channel}/messages", {}, expect=400)
    ask("GET", f"/channels/{channel}/messages?limit=101", expect=400)
    ask("PUT", f"/channels/{channel}/messages/{sent[0]['id']}/reactions/abc/@me", expect=400)
    ask("POST", commands, {"name": "Bad Name", "description": "d"}, expect=400)
    ask("GET", f"/applications/{alice}/commands", expect=403)
    rule = {"on": "rest", "name": "limited", "route": "GET /users/@me",
            "effect": {"kind": "rate-limit", "scope": "shared", "retry_after_ms": 1500}}
    emulator.call("POST", "/faults", rule)
    ask("GET", "/users/@me", expect=429)
    emulator.call("DELETE", "/faults/limited")
    ask("DELETE", f"/guilds/{guild}/members/{next(u['id'] for u in state['users'] if u['name'] == 'hikari')}")

    all_routes = {(method.upper(), path) for path, operations in SPEC["paths"].items()
                  for method in operations if method != "parameters"}
    missing = sorted(all_routes - COVERED)
    served_elsewhere = {("DELETE", "/webhooks/{webhook_id}/{webhook_token}"), ("PATCH", "/webhooks/{webhook_id}/{webhook_token}")}
    missing = [route for route in missing if route not in served_elsewhere]
    for line in VIOLATIONS:
        print("violation:", line)
    for method, path in missing:
        print("not covered:", method, path)
    if VIOLATIONS or missing:
        raise SystemExit(f"{len(VIOLATIONS)} violations, {len(missing)} routes without an answer")
    print(f"ok: {len(COVERED)} of {len(all_routes)} operations of Discord's description answered, no violation")


main()
