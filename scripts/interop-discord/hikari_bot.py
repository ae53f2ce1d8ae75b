"""hikari, unmodified: messages, reactions, a slash command, joining voice, resume."""

import asyncio

import hikari

import emulator

TOKEN = "MTQwMDAwMDAwMDAwMDAwMDAwMg.emulated.token-of-hikari"

intents = hikari.Intents.ALL_UNPRIVILEGED | hikari.Intents.MESSAGE_CONTENT
bot = hikari.GatewayBot(TOKEN, intents=intents, banner=None, logs="WARNING")
heard, reactions, servers, resumed = [], [], [], []


@bot.listen()
async def on_message(event: hikari.GuildMessageCreateEvent):
    heard.append(event.message)


@bot.listen()
async def on_reaction(event: hikari.GuildReactionAddEvent):
    reactions.append(event)


@bot.listen()
async def on_voice(event: hikari.VoiceServerUpdateEvent):
    servers.append(event)


@bot.listen()
async def on_resumed(event: hikari.ShardResumedEvent):
    resumed.append(event)


@bot.listen()
async def on_interaction(event: hikari.InteractionCreateEvent):
    interaction = event.interaction
    await interaction.create_initial_response(
        hikari.ResponseType.MESSAGE_CREATE, f"hello {interaction.options[0].value}")


async def main():
    await bot.start()
    me = bot.get_me()
    state = await emulator.acall("GET", "/state")
    home = next(guild for guild in state["guilds"] if guild["name"] == "home")
    channel = next(int(c["id"]) for c in home["channels"] if c["name"] == "hikari")
    lounge = next(int(c["id"]) for c in home["channels"] if c["name"] == "Lounge")
    guild = int(home["id"])

    sent = await bot.rest.create_message(channel, "hello from hikari")
    await emulator.until("own message", lambda: any(m.id == sent.id for m in heard))
    made = await emulator.acall("POST", "/messages", {"user": "alice", "channel": "home/hikari", "content": "hi hikari"})
    message = await emulator.until("alice's message", lambda: next((m for m in heard if m.id == int(made["id"])), None))
    assert message.content == "hi hikari", message
    await bot.rest.add_reaction(channel, message, "\N{SPARKLES}")
    await emulator.until("reaction", lambda: any(r.message_id == message.id for r in reactions))
    await bot.rest.edit_message(channel, sent, "edited")
    page = await bot.rest.fetch_messages(channel).limit(2)
    assert [m.content for m in page] == ["hi hikari", "edited"], page

    command = bot.rest.slash_command_builder("greet", "Says hello").add_option(
        hikari.CommandOption(type=hikari.OptionType.STRING, name="who", description="Whom", is_required=True))
    await bot.rest.set_application_commands(me.id, [command], guild)
    use = {"user": "alice", "channel": "home/hikari", "command": "greet", "options": {"who": "world"}}
    used = await emulator.acall("POST", "/interactions", use)

    async def answered():
        return (await emulator.acall("GET", f"/interactions/{used['id']}"))["messages"]

    answer = await emulator.until("answer", answered)
    assert answer[0]["content"] == "hello world", answer

    await bot.update_voice_state(guild, lounge)
    server = await emulator.until("voice server", lambda: servers and servers[-1])
    assert ".discord.media:8443" in server.endpoint, server.endpoint
    await bot.update_voice_state(guild, None)

    beats = await emulator.until("heartbeats", lambda: (lambda b: len(b) >= 2 and b)(emulator.exchanges("heartbeat", str(me.id))))
    assert all(emulator.service_ms(beat) >= 30 for beat in beats if beat["sent_ns"]), "ACKs wait 30 ms"
    latency = await emulator.until("latency", lambda: 0 < bot.heartbeat_latency < 10 and bot.heartbeat_latency)

    before = len(heard)
    await emulator.acall("POST", "/gateway/effect", {"user": "hikari", "effect": {"kind": "reconnect"}})
    await emulator.acall("POST", "/messages", {"user": "alice", "channel": "home/hikari", "content": "meanwhile"})
    await emulator.until("resume", lambda: resumed)
    await emulator.until("replay", lambda: [m.content for m in heard[before:]] == ["meanwhile"])
    print(f"ok: hikari {hikari.__version__}: {len(heard)} messages, gateway {latency * 1000:.1f} ms, resumed")
    await bot.close()


asyncio.run(main())
