// The Legion's oceanic: gateway heartbeats, REST calls and message echoes, by the contract in legion/CONTRACT.md.
import { Client, Constants, GatewayOPCodes, Intents } from 'oceanic.js';
import { CHANNEL, TOKEN, clean, fatal, hear, heartbeat, now, ready, run } from './contract.mjs';

const client = new Client({
  auth: `Bot ${TOKEN}`,
  allowedMentions: { everyone: false, roles: false, users: false, repliedUser: false },
  rest: { baseURL: process.env.NETLAT_DISCORD_API },
  gateway: { intents: Intents.GUILDS | Intents.GUILD_MESSAGES, maxReconnectAttempts: Infinity },
});

// The library keeps the moments of its last heartbeat in whole milliseconds, and tells nobody of them.
client.on('hello', (_, id) => {
  const shard = client.shards.get(id);
  if (!shard || shard.netlat) return;
  shard.netlat = true;
  const [send, onPacket] = [shard.send.bind(shard), shard.onPacket.bind(shard)];
  let sent = null;
  shard.send = (op, ...rest) => {
    if (op === GatewayOPCodes.HEARTBEAT) sent = now();
    return send(op, ...rest);
  };
  shard.onPacket = (packet) => {
    const received = performance.now();
    const after = onPacket(packet);
    if (packet?.op === GatewayOPCodes.HEARTBEAT_ACK && sent !== null) {
      heartbeat(sent, received, shard.latency);
      sent = null;
    }
    return after;
  };
});

client.on('messageCreate', (message) => {
  if (message.channelID === CHANNEL && message.author.id === client.user.id) hear(message.id);
});
client.on('error', (error) => {
  const why = { 4004: 'token', 4013: 'intents', 4014: 'intents' }[error?.code] ?? (/Invalid Token/.test(error?.message) && 'token');
  if (why) fatal(why, `Discord refuses the ${why}`);
  else console.error(clean(error));
});
client.on('shardResume', () => ready(client.user.id));
client.once('ready', () => ready(client.user.id));

const goes = run({
  library: 'oceanic',
  version: Constants.VERSION,
  fetch: () => client.rest.channels.get(CHANNEL),
  send: async (content) => (await client.rest.channels.createMessage(CHANNEL, { content })).id,
  close: () => client.disconnect(false),
});
if (goes) {
  client.connect().catch((error) => {
    const text = clean(error);
    if ([error, error.cause].some((one) => one?.status === 401) || /401|invalid token|unauthorized/i.test(text)) fatal('token', 'Discord refuses the token');
    else {
      console.error(text);
      process.exit(1);
    }
  });
}
