"""The Legion's discord.py: gateway heartbeats, REST calls and message echoes, by the contract in legion/CONTRACT.md."""

import asyncio
import os
import time

import discord
import yarl

from contract import CHANNEL, Bench, Fatal, main


class Socket(discord.gateway.DiscordWebSocket):
    """The library's own, which says when it sends a heartbeat: it tells nobody of those."""

    sent = None

    async def send_heartbeat(self, data):
        self.sent = (time.perf_counter(), time.time_ns())
        await super().send_heartbeat(data)


class Bot(discord.Client):
    def __init__(self):
        intents = discord.Intents(guilds=True, guild_messages=True)
        super().__init__(intents=intents, enable_debug_events=True, allowed_mentions=discord.AllowedMentions.none())
        self.bench = Bench(self.fetch, self.send)

    def dispatch(self, event, /, *args, **kwargs):
        # Taken here and not in a handler, which would run later.
        now = time.perf_counter()
        if event == "message" and args[0].author.id == self.user.id and args[0].channel.id == CHANNEL:
            self.bench.hear(args[0].id, now)
        elif event == "socket_raw_receive" and isinstance(args[0], str) and '"op":11' in args[0][:80].replace(" ", ""):
            # After the library itself has seen the acknowledgement.
            asyncio.get_running_loop().call_soon(self.acknowledged, now)
        super().dispatch(event, *args, **kwargs)

    def acknowledged(self, received):
        if self.ws is None or self.ws.sent is None:
            return
        (sent, wall), self.ws.sent = self.ws.sent, None
        interval = getattr(getattr(self.ws, "_keep_alive", None), "interval", None)
        self.bench.heartbeat(sent, wall, received, self.latency, interval)

    async def on_ready(self):
        self.bench.ready(self.user.id)

    async def fetch(self):
        try:
            await self.fetch_channel(CHANNEL)
            return []
        except discord.HTTPException as error:
            if error.status in (403, 404):
                raise Fatal("channel", f"channel {CHANNEL}: {error.status} {error.text}") from error
            return [f"http-{error.status}"]

    async def send(self, content):
        try:
            return (await self.get_partial_messageable(CHANNEL).send(content)).id, None
        except discord.HTTPException as error:
            return None, str(error)


async def run():
    discord.http.Route.BASE = os.environ["NETLAT_DISCORD_API"]
    discord.client.DiscordWebSocket = Socket
    Socket.DEFAULT_GATEWAY = yarl.URL(os.environ["NETLAT_DISCORD_GATEWAY"])
    discord.utils.setup_logging()
    bot = Bot()
    try:
        async with bot:
            await bot.bench.run(bot.start(os.environ["NETLAT_DISCORD_TOKEN"]))
    except discord.LoginFailure as error:
        raise Fatal("token", "Discord refuses the token: get a new one in the developer portal") from error
    except discord.PrivilegedIntentsRequired as error:
        raise Fatal("intents", "Discord refuses this bot's intents") from error
    except discord.ConnectionClosed as error:
        why = {4004: "token", 4013: "intents", 4014: "intents"}.get(error.code)
        if why:
            raise Fatal(why, f"Discord's gateway refuses the {why} ({error.code})") from error
        raise


if __name__ == "__main__":
    main("discord.py", discord.__version__, run)
