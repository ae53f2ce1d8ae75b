// The Legion's discord.js: gateway heartbeats, REST calls and message echoes, by the contract in legion/CONTRACT.md.
import { Client, Events, GatewayIntentBits, version } from 'discord.js';
import { CHANNEL, TOKEN, clean, fatal, hear, heartbeat, now, ready, run } from './contract.mjs';

const client = new Client({
  intents: [GatewayIntentBits.Guilds, GatewayIntentBits.GuildMessages],
  allowedMentions: { parse: [] },
  rest: { api: process.env.NETLAT_DISCORD_API.replace(/\/v\d+$/, ''), version: '10' },
});

// The library says when a heartbeat was acknowledged, in whole milliseconds, but not when it sends one.
let sent = null;
function listen() {
  client.ws._ws.on('heartbeat', ({ latency }) => {
    const received = performance.now();
    if (sent !== null) heartbeat(sent, received, latency);
    sent = null;
  });
}
function wrap() {
  for (const shard of client.ws._ws?.strategy?.shards?.values() ?? []) {
    if (shard.netlat) continue;
    shard.netlat = true;
    const send = shard.send.bind(shard);
    shard.send = (payload) => {
      if (payload.op === 1) sent = now();
      return send(payload);
    };
  }
}

client.on(Events.MessageCreate, (message) => {
  if (message.channelId === CHANNEL && message.author.id === client.user.id) hear(message.id);
});
client.on(Events.Error, (error) => console.error(clean(error)));
client.on(Events.ShardReady, wrap);
client.on(Events.ShardResume, () => {
  wrap();
  ready(client.user.id);
});
client.on(Events.ShardDisconnect, ({ code }) => {
  const why = { 4004: 'token', 4013: 'intents', 4014: 'intents' }[code];
  if (why) fatal(why, `Discord's gateway refuses the ${why} (${code})`);
});
client.once(Events.ClientReady, () => ready(client.user.id));

const goes = run({
  library: 'discord.js',
  version,
  fetch: () => client.channels.fetch(CHANNEL, { force: true }),
  send: async (content) => (await client.channels.cache.get(CHANNEL).send(content)).id,
  close: () => client.destroy(),
});
if (goes) {
  // Made by the login, before anything is sent.
  const made = setInterval(() => {
    if (!client.ws._ws) return;
    clearInterval(made);
    listen();
    wrap();
  }, 1);
  client.login(TOKEN).catch((error) => {
    if (error.code === 'TokenInvalid' || error.status === 401) fatal('token', 'Discord refuses the token');
    else if (/intents/i.test(error.message)) fatal('intents', clean(error));
    else {
      console.error(clean(error));
      process.exit(1);
    }
  });
}
