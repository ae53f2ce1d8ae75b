"""The emulator's admin port, for the bots of interop-discord.sh: acts as alice, disturbs, reads the true times."""

import asyncio
import json
import urllib.error
import urllib.request

ADMIN = "http://127.0.0.1:8790"


def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(ADMIN + path, data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from error


async def acall(method, path, body=None):
    return await asyncio.to_thread(call, method, path, body)


def exchanges(kind, user, since=0):
    found = call("GET", f"/exchanges?since={since}&kind={kind}")["exchanges"]
    return [exchange for exchange in found if exchange["user"] == user]


async def until(what, check, seconds=20):
    """Waits for `check` (a function or coroutine function) to give something true."""
    for _ in range(seconds * 20):
        found = check()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"nothing within {seconds} s: {what}")


def service_ms(exchange):
    """Between receiving and answering, in the emulator."""
    return (exchange["sent_ns"] - exchange["received_ns"]) / 1e6
