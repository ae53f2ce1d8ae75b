"""A bot that hears what is said; after SIGUSR1 it blocks its event loop for a second and a half at a time, as a query without `await` would."""
import asyncio
import signal
import time

import discord

client = discord.Client(intents=discord.Intents(guilds=True, guild_messages=True, message_content=True))
blocking = asyncio.Event()


@client.event
async def on_ready():
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, blocking.set)
    print("ready", flush=True)
    await blocking.wait()
    while True:
        time.sleep(1.5)
        await asyncio.sleep(0.5)


client.run("MTQwMDAwMDAwMDAwMDAwMDAwMQ.emulated.token-of-bot", log_handler=None)
