"""discord.py, unmodified: messages, reactions, slash commands, voice, resume. The argument: zstd or zlib."""

import asyncio
import sys

COMPRESSION = sys.argv[1]
if COMPRESSION == "zlib":
    # Without this optional package discord.py asks for zlib-stream.
    sys.modules["zstandard"] = None

import discord
from discord import app_commands

import emulator

TOKEN = "MTQwMDAwMDAwMDAwMDAwMDAwMQ.emulated.token-of-discordpy"

intents = discord.Intents.default()
intents.message_content = True
intents.members = True
client = discord.Client(intents=intents)
tree = app_commands.CommandTree(client)
heard, reactions, resumed = [], [], asyncio.Event()


@client.event
async def on_message(message):
    heard.append(message)


@client.event
async def on_raw_reaction_add(payload):
    reactions.append(payload)


@client.event
async def on_resumed():
    resumed.set()


@tree.command(description="Adds two numbers")
async def add(interaction: discord.Interaction, a: int, b: int):
    await interaction.response.send_message(f"{a + b}", ephemeral=True)


@tree.command(description="Answers later")
async def later(interaction: discord.Interaction):
    await interaction.response.defer()
    await interaction.followup.send("first")
    await interaction.followup.send("second")


async def messages(channel):
    sent = await channel.send("hello from discord.py", embed=discord.Embed(title="t", description="d"))
    await emulator.until("own message", lambda: any(m.id == sent.id and m.embeds for m in heard))
    made = await emulator.acall("POST", "/messages", {"user": "alice", "channel": "home/discordpy", "content": "hi bot"})
    message = await emulator.until("alice's message", lambda: next((m for m in heard if str(m.id) == made["id"]), None))
    assert message.content == "hi bot" and message.author.name == "alice", message
    await message.add_reaction("\N{THUMBS UP SIGN}")
    await emulator.until("reaction", lambda: any(r.message_id == message.id for r in reactions))
    await sent.edit(content="edited")
    history = [m async for m in channel.history(limit=10)]
    assert [m.content for m in history[:2]] == ["hi bot", "edited"], history
    assert history[0].reactions[0].me and history[1].edited_at is not None
    await sent.delete()
    file = discord.File(__import__("io").BytesIO(b"a,b\n1,2\n"), filename="data.csv")
    with_file = await channel.send("file", file=file)
    assert await with_file.attachments[0].read() == b"a,b\n1,2\n"
    made = await channel.guild.create_text_channel("New Channel")
    assert made.name == "new-channel"
    await made.delete()


async def commands():
    await tree.sync()
    use = {"user": "alice", "channel": "home/discordpy", "command": "add", "options": {"a": 2, "b": 3}}
    used = await emulator.acall("POST", "/interactions", use)

    async def answered(id, count):
        view = await emulator.acall("GET", f"/interactions/{id}")
        return view if len(view["messages"]) == count else None

    view = await emulator.until("answer", lambda: answered(used["id"], 1))
    assert view["answer"] == 4 and view["messages"][0]["content"] == "5", view
    assert view["messages"][0]["flags"] & 64, "ephemeral"
    use = {"user": "alice", "channel": "home/discordpy", "command": "later"}
    used = await emulator.acall("POST", "/interactions", use)
    view = await emulator.until("followups", lambda: answered(used["id"], 2))
    assert view["answer"] == 5 and [m["content"] for m in view["messages"]] == ["first", "second"], view


async def voice(guild):
    lounge = discord.utils.get(guild.voice_channels, name="Lounge")
    me = str(client.user.id)
    connected = await lounge.connect(timeout=30, reconnect=False)
    beats = await emulator.until("voice heartbeats", lambda: len(emulator.exchanges("voice-heartbeat", me)) >= 3)
    assert beats
    assert emulator.exchanges("ip-discovery", me), "it asked for its address"
    state = await emulator.acall("GET", "/state")
    seat = next(v for v in state["voice_connections"] if v["user"] == me)
    assert seat["key_package_bytes"], "it sent its MLS key package"
    assert connected.endpoint.endswith(".discord.media") or ".discord.media:" in connected.endpoint, connected.endpoint
    latency = await emulator.until("voice latency", lambda: 0 < connected.latency < 10 and connected.latency)
    await connected.disconnect()
    return latency


async def resume(channel):
    before = len(heard)
    await emulator.acall("POST", "/gateway/effect", {"user": "discordpy", "effect": {"kind": "reconnect"}})
    for number in range(5):
        body = {"user": "alice", "channel": "home/discordpy", "content": f"meanwhile {number}"}
        await emulator.acall("POST", "/messages", body)
    await asyncio.wait_for(resumed.wait(), 20)
    await emulator.until("replay", lambda: len(heard) >= before + 5)
    contents = [message.content for message in heard[before:]]
    assert contents == [f"meanwhile {number}" for number in range(5)], contents


async def main():
    async with client:
        running = asyncio.create_task(client.start(TOKEN))
        await asyncio.wait_for(client.wait_until_ready(), 20)
        used = client.ws._decompressor.COMPRESSION_TYPE
        assert used == f"{COMPRESSION}-stream", used
        guild = discord.utils.get(client.guilds, name="home")
        channel = discord.utils.get(guild.text_channels, name="discordpy")
        await messages(channel)
        await commands()
        me = str(client.user.id)
        beats = await emulator.until("heartbeats", lambda: (lambda b: len(b) >= 3 and b)(emulator.exchanges("heartbeat", me)))
        assert all(emulator.service_ms(beat) >= 30 for beat in beats if beat["sent_ns"]), "ACKs wait 30 ms"
        gateway_latency = await emulator.until("latency", lambda: 0 < client.latency < 10 and client.latency)
        voice_latency = await voice(guild)
        await resume(channel)
        print(f"ok: discord.py {discord.__version__} {COMPRESSION}: {len(heard)} messages, "
              f"gateway {gateway_latency * 1000:.1f} ms, voice {voice_latency * 1000:.1f} ms, resumed")
        await client.close()
        await running


asyncio.run(main())
