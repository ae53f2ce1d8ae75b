"""What every Python bot of the Legion shares: the lines of legion/CONTRACT.md, and whether the event loop stood still."""

import asyncio
import json
import math
import os
import platform
import sys
import time

CHANNEL = int(os.environ["NETLAT_CHANNEL"])
INTERVAL_S = float(os.environ["NETLAT_INTERVAL_S"])
STALL_S = 0.1
#: Messages whose event came; more are those of others' posts that nobody asked for.
MOST_HEARD = 64


class Fatal(Exception):
    """No waiting repairs it."""

    def __init__(self, why, problem):
        super().__init__(problem)
        self.why = why


def say(kind, **fields):
    try:
        print(json.dumps({kind: fields}), flush=True)
    except BrokenPipeError:
        # Whoever listened is gone, and so is what this is for.
        os._exit(0)


def hello(library, version):
    runtime = f"{platform.python_implementation()} {platform.python_version()}"
    say("hello", contract=1, library=library, version=version, language="python", runtime=runtime)
    if os.environ.get("NETLAT_LEGION_CONTRACT") != "1":
        raise Fatal("contract", "this bot knows version 1 of the contract only")


def own(seconds):
    """What the library says, untouched, and the same in milliseconds."""
    if math.isfinite(seconds):
        return {"own": seconds, "own_ms": seconds * 1e3 if seconds >= 0 else None}
    return {"own": str(seconds), "own_ms": None}


class Stalls:
    """When this event loop stood still: a timer that wakes late."""

    TICK_S = 0.05

    def __init__(self):
        self.last = []
        self.woke = None

    def is_late(self, now):
        return self.woke is not None and now - self.woke - self.TICK_S >= STALL_S

    async def watch(self):
        while True:
            self.woke = time.perf_counter()
            await asyncio.sleep(self.TICK_S)
            now = time.perf_counter()
            if self.is_late(now):
                self.last = [*self.last[-31:], (self.woke, now)]

    async def make(self):
        """For tests: stands still every so often for so long."""
        asked = os.environ.get("NETLAT_LEGION_STALL")
        if asked:
            every, lasting = (float(part) / 1e3 for part in asked.split(":"))
            while True:
                await asyncio.sleep(every)
                time.sleep(lasting)

    def flags(self, begun, ended):
        # One that has just ended is known before the timer had its turn.
        late = [(self.woke, time.perf_counter())] if self.is_late(time.perf_counter()) else []
        return ["event-loop-stall"] if any(a < ended and begun < b for a, b in self.last + late) else []


class Bench:
    """Times REST calls and message echoes; how they are made is the library's."""

    def __init__(self, fetch, send):
        self.fetch, self.send = fetch, send
        self.stalls = Stalls()
        self.heard = {}
        self.stood = asyncio.Event()

    def heartbeat(self, sent, wall, received, seconds, interval_s=None):
        """`seconds`: the library's own latency."""
        say(
            "measured",
            metric="gateway_heartbeat",
            at_ns=wall,
            app_ms=(received - sent) * 1e3,
            interval_ms=interval_s * 1e3 if interval_s else None,
            flags=self.stalls.flags(sent, received),
            **own(seconds),
        )

    def hear(self, message, at):
        self.heard[message] = at
        while len(self.heard) > MOST_HEARD:
            self.heard.pop(next(iter(self.heard)))

    def ready(self, user):
        say("ready", user=str(user))
        self.stood.set()

    async def rest(self):
        """`fetch` answers with flags of what went wrong."""
        await self.stood.wait()
        while True:
            begun, wall, took = time.perf_counter(), time.time_ns(), None
            try:
                flags = await asyncio.wait_for(self.fetch(), 30)
            except (asyncio.TimeoutError, OSError):
                flags = ["timeout"]
            ended = time.perf_counter()
            if not flags:
                took, flags = (ended - begun) * 1e3, self.stalls.flags(begun, ended)
            say("measured", metric="rest", at_ns=wall, app_ms=took, flags=flags)
            await asyncio.sleep(INTERVAL_S)

    async def post(self, order):
        """`send` answers with the message's id, and a problem where there is none."""
        await self.stood.wait()
        begun, wall = time.perf_counter(), time.time_ns()
        try:
            message, problem = await self.send(order["content"])
        except OSError as error:
            message, problem = None, str(error)
        if message is None:
            say("failed", id=order["id"], problem=problem[:200])
            return
        say("posted", id=order["id"])
        for _ in range(500):
            if message in self.heard:
                ended = self.heard.pop(message)
                flags = self.stalls.flags(begun, ended)
                say("measured", metric="message_echo", at_ns=wall, app_ms=(ended - begun) * 1e3, flags=flags)
                return
            await asyncio.sleep(0.02)
        say("measured", metric="message_echo", at_ns=wall, app_ms=None, flags=["timeout"])

    async def orders(self):
        """Ends when told to, or with the supervisor: also while Discord is away."""
        reader = asyncio.StreamReader(limit=1 << 16)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            order = json.loads(line)
            if "stop" in order:
                return
            if "post" in order:
                await self.post(order["post"])

    async def run(self, *more):
        """Everything at once, until the orders end or something fails."""
        work = [self.orders(), self.rest(), self.stalls.watch(), *more]
        if os.environ.get("NETLAT_LEGION_STALL"):
            work.append(self.stalls.make())
        tasks = [asyncio.ensure_future(one) for one in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            # A library may lose a cancellation, and ends once it is closed.
            await asyncio.wait(tasks, timeout=2)


def main(library, version, run):
    try:
        hello(library, version)
        asyncio.run(run())
    except Fatal as error:
        say("fatal", why=error.why, problem=str(error))
        sys.exit(1)
