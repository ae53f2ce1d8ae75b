"""The Legion's hikari: gateway heartbeats, REST calls and message echoes, by the contract in legion/CONTRACT.md."""

import logging
import os
import time

import hikari

from contract import CHANNEL, Bench, Fatal, main

#: The library's finest level of logging.
TRACE = 5


class Heartbeats(logging.Handler):
    """The library tells of its heartbeats in its finest log only: just before it sends, and once it has measured."""

    def __init__(self, bot, bench):
        super().__init__(TRACE)
        self.bot, self.bench, self.sent = bot, bench, None

    def emit(self, record):
        now, text = time.perf_counter(), str(record.msg)
        if text.startswith("sending HEARTBEAT"):
            self.sent = (now, time.time_ns())
        elif text.startswith("received HEARTBEAT ACK") and self.sent:
            (sent, wall), self.sent = self.sent, None
            self.bench.heartbeat(sent, wall, now, self.bot.heartbeat_latency)


def gateway_log(handler):
    gateway = logging.getLogger("hikari.gateway")
    gateway.setLevel(TRACE)
    gateway.addHandler(handler)
    # What is finer than usual is for the handler alone.
    for usual in logging.getLogger().handlers:
        usual.setLevel(logging.INFO)


async def live(bot):
    try:
        await bot.start(check_for_updates=False)
    except hikari.UnauthorizedError as error:
        raise Fatal("token", "Discord refuses the token: get a new one in the developer portal") from error
    except hikari.GatewayServerClosedConnectionError as error:
        why = {4004: "token", 4013: "intents", 4014: "intents"}.get(error.code)
        if why:
            raise Fatal(why, f"Discord's gateway refuses the {why} ({error.code})") from error
        raise
    await bot.join()


async def run():
    bot = hikari.GatewayBot(
        os.environ["NETLAT_DISCORD_TOKEN"],
        intents=hikari.Intents.GUILDS | hikari.Intents.GUILD_MESSAGES,
        rest_url=os.environ["NETLAT_DISCORD_API"],
        banner=None,
        # Its own log goes to stdout.
        logs=None,
    )

    async def fetch():
        try:
            await bot.rest.fetch_channel(CHANNEL)
            return []
        except (hikari.ForbiddenError, hikari.NotFoundError) as error:
            raise Fatal("channel", f"channel {CHANNEL}: {int(error.status)} {error.message}") from error
        except hikari.HTTPResponseError as error:
            return [f"http-{int(error.status)}"]
        except hikari.HTTPError:
            return ["timeout"]

    async def send(content):
        quiet = {"mentions_everyone": False, "user_mentions": False, "role_mentions": False}
        try:
            return (await bot.rest.create_message(CHANNEL, content, **quiet)).id, None
        except hikari.HikariError as error:
            return None, str(error)

    bench = Bench(fetch, send)
    gateway_log(Heartbeats(bot, bench))

    @bot.listen()
    async def on_message(event: hikari.GuildMessageCreateEvent):
        if event.channel_id == CHANNEL and event.author_id == bot.get_me().id:
            bench.hear(event.message_id, time.perf_counter())

    @bot.listen()
    async def on_ready(event: hikari.ShardReadyEvent):
        bench.ready(event.my_user.id)

    try:
        await bench.run(live(bot))
    finally:
        if bot.is_alive:
            await bot.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main("hikari", hikari.__version__, run)
