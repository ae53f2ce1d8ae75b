// discord.js and @discordjs/voice, unmodified: messages, reactions, a slash command, voice, resume.
import assert from 'node:assert/strict';
import { ChannelType, Client, Events, GatewayIntentBits, SlashCommandBuilder, version } from 'discord.js';
import { VoiceConnectionStatus, entersState, joinVoiceChannel } from '@discordjs/voice';

const TOKEN = 'MTQwMDAwMDAwMDAwMDAwMDAwMw.emulated.token-of-discordjs';
const ADMIN = 'http://127.0.0.1:8790';

async function admin(method, path, body) {
  const answer = await fetch(ADMIN + path, { method, body: body && JSON.stringify(body) });
  const json = await answer.json();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${JSON.stringify(json)}`);
  return json;
}

async function until(what, check, seconds = 20) {
  for (let turn = 0; turn < seconds * 20; turn += 1) {
    const found = await check();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`nothing within ${seconds} s: ${what}`);
}

async function exchanges(kind, user) {
  const all = (await admin('GET', `/exchanges?kind=${kind}`)).exchanges;
  return all.filter((exchange) => exchange.user === user);
}

const { Guilds, GuildMessages, GuildMessageReactions, GuildVoiceStates, MessageContent } = GatewayIntentBits;
const client = new Client({ intents: [Guilds, GuildMessages, GuildMessageReactions, GuildVoiceStates, MessageContent] });
const heard = [];
const reactions = [];
let resumed = 0;
client.on(Events.MessageCreate, (message) => heard.push(message));
client.on(Events.MessageReactionAdd, (reaction) => reactions.push(reaction));
client.on(Events.ShardResume, () => { resumed += 1; });
client.on(Events.InteractionCreate, (interaction) => interaction.reply(`pong ${interaction.options.getString('what')}`));

const ready = new Promise((resolve) => client.once(Events.ClientReady, resolve));
await client.login(TOKEN);
await ready;
const guild = client.guilds.cache.find((known) => known.name === 'home');
const channel = guild.channels.cache.find((known) => known.name === 'discordjs');

const sent = await channel.send('hello from discord.js');
await until('own message', () => heard.some((message) => message.id === sent.id));
const made = await admin('POST', '/messages', { user: 'alice', channel: 'home/discordjs', content: 'hi js' });
const message = await until("alice's message", () => heard.find((known) => known.id === made.id));
assert.equal(message.content, 'hi js');
await message.react('👍');
await until('reaction', () => reactions.some((reaction) => reaction.message.id === message.id));
await sent.edit('edited');
const page = await channel.messages.fetch({ limit: 2 });
assert.deepEqual([...page.values()].map((known) => known.content), ['hi js', 'edited']);

const command = new SlashCommandBuilder().setName('ping').setDescription('Answers')
  .addStringOption((option) => option.setName('what').setDescription('What').setRequired(true));
await guild.commands.set([command]);
const used = await admin('POST', '/interactions', {
  user: 'alice', channel: 'home/discordjs', command: 'ping', options: { what: 'x' },
});
const answer = await until('answer', async () => (await admin('GET', `/interactions/${used.id}`)).messages[0]);
assert.equal(answer.content, 'pong x');

const lounge = guild.channels.cache.find((known) => known.type === ChannelType.GuildVoice);
const voice = joinVoiceChannel({ channelId: lounge.id, guildId: guild.id, adapterCreator: guild.voiceAdapterCreator });
await entersState(voice, VoiceConnectionStatus.Ready, 20_000);
await until('voice heartbeats', async () => (await exchanges('voice-heartbeat', client.user.id)).length >= 3);
assert.ok((await exchanges('ip-discovery', client.user.id)).length >= 1);
await until('voice ping', () => voice.ping.ws > 0);
const voicePing = voice.ping.ws;
voice.destroy();

const beats = await until('heartbeats', async () => {
  const all = await exchanges('heartbeat', client.user.id);
  return all.length >= 2 && all;
});
assert.ok(beats.every((beat) => beat.sent_ns === null || beat.sent_ns - beat.received_ns >= 30e6), 'ACKs wait 30 ms');
await until('ping', () => client.ws.ping > 0);

const before = heard.length;
await admin('POST', '/gateway/effect', { user: 'discordjs', effect: { kind: 'reconnect' } });
await admin('POST', '/messages', { user: 'alice', channel: 'home/discordjs', content: 'meanwhile' });
await until('resume', () => resumed > 0);
await until('replay', () => heard.length > before);
assert.deepEqual(heard.slice(before).map((known) => known.content), ['meanwhile']);

console.log(`ok: discord.js ${version}: ${heard.length} messages, gateway ${client.ws.ping} ms, voice ${voicePing} ms, resumed`);
await client.destroy();
process.exit(0);
