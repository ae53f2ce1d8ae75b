// What every JavaScript bot of the Legion shares: the lines of legion/CONTRACT.md, and whether the event loop stood still.
import { createInterface } from 'node:readline';

export const TOKEN = process.env.NETLAT_DISCORD_TOKEN;
export const CHANNEL = process.env.NETLAT_CHANNEL;
const INTERVAL_MS = Number(process.env.NETLAT_INTERVAL_S) * 1000;
const STALL_MS = 100;
const TICK_MS = 50;
// Messages whose event came; more are those of others' posts that nobody asked for.
const MOST_HEARD = 64;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export const now = () => [performance.now(), Math.round((performance.timeOrigin + performance.now()) * 1e6)];

export const say = (kind, fields) => process.stdout.write(`${JSON.stringify({ [kind]: fields })}\n`);

// Whoever listened is gone, and so is what this is for.
process.stdout.on('error', () => process.exit(0));

let isOver = false;
export function fatal(why, problem) {
  if (isOver) return;
  isOver = true;
  // A pipe is written to later, unless it is waited for.
  process.stdout.write(`${JSON.stringify({ fatal: { why, problem } })}\n`, () => process.exit(1));
}

// Libraries quote the token in some of their errors.
export const clean = (error) => String(error?.message ?? error).replaceAll(TOKEN, '[token]');

// What the library says, untouched, and the same in milliseconds.
function own(ms) {
  if (Number.isFinite(ms)) return { own: ms, own_ms: ms >= 0 ? ms : null };
  return { own: String(ms), own_ms: null };
}

// When this event loop stood still: a timer that wakes late.
const stalls = [];
let woke = performance.now();
function watch() {
  woke = performance.now();
  setInterval(() => {
    const at = performance.now();
    if (at - woke - TICK_MS >= STALL_MS) {
      stalls.push([woke, at]);
      if (stalls.length > 32) stalls.shift();
    }
    woke = at;
  }, TICK_MS);
  // For tests: stands still every so often for so long.
  const [every, lasting] = (process.env.NETLAT_LEGION_STALL ?? '').split(':').map(Number);
  if (lasting) {
    setInterval(() => {
      const until = performance.now() + lasting;
      while (performance.now() < until);
    }, every);
  }
}
function flags(begun, ended) {
  const at = performance.now();
  // One that has just ended is known before the timer had its turn.
  const late = at - woke - TICK_MS >= STALL_MS ? [[woke, at]] : [];
  return [...stalls, ...late].some(([from, to]) => from < ended && begun < to) ? ['event-loop-stall'] : [];
}

const heard = new Map();
export function hear(message) {
  heard.set(message, performance.now());
  if (heard.size > MOST_HEARD) heard.delete(heard.keys().next().value);
}

// A heartbeat: the moments of its sending and of its acknowledgement, and what the library says.
export function heartbeat([begun, at], received, latency) {
  say('measured', {
    metric: 'gateway_heartbeat', at_ns: at, app_ms: received - begun, ...own(latency), flags: flags(begun, received),
  });
}

let stand;
const stood = new Promise((resolve) => { stand = resolve; });
export function ready(user) {
  say('ready', { user });
  stand();
}

// `fetch` gets the channel, `send` answers with a message's id: how is the library's. `close` leaves Discord.
export function run({ library, version, fetch, send, close }) {
  say('hello', {
    contract: 1, library, version, language: 'javascript', runtime: `Node.js ${process.versions.node}`,
  });
  if (process.env.NETLAT_LEGION_CONTRACT !== '1') {
    fatal('contract', 'this bot knows version 1 of the contract only');
    return false;
  }
  watch();
  rest(fetch);
  orders(send, close);
  return true;
}

async function rest(fetch) {
  await stood;
  for (;;) {
    const [begun, at] = now();
    let took = null;
    let told = [];
    try {
      await fetch();
      const ended = performance.now();
      [took, told] = [ended - begun, flags(begun, ended)];
    } catch (error) {
      if ([403, 404].includes(error.status)) {
        fatal('channel', `channel ${CHANNEL}: ${error.status} ${clean(error)}`);
        return;
      }
      told = error.status ? [`http-${error.status}`] : ['timeout'];
    }
    say('measured', { metric: 'rest', at_ns: at, app_ms: took, flags: told });
    await sleep(INTERVAL_MS);
  }
}

async function post({ id, content }, send) {
  await stood;
  const [begun, at] = now();
  let message;
  try {
    message = await send(content);
  } catch (error) {
    say('failed', { id, problem: clean(error).slice(0, 200) });
    return;
  }
  say('posted', { id });
  for (let turn = 0; turn < 500; turn += 1) {
    const ended = heard.get(message);
    if (ended !== undefined) {
      heard.delete(message);
      say('measured', { metric: 'message_echo', at_ns: at, app_ms: ended - begun, flags: flags(begun, ended) });
      return;
    }
    await sleep(20);
  }
  say('measured', { metric: 'message_echo', at_ns: at, app_ms: null, flags: ['timeout'] });
}

// Ends when told to, or with the supervisor: also while Discord is away.
function orders(send, close) {
  const stop = async () => {
    isOver = true;
    await close();
    process.stdout.write('', () => process.exit(0));
  };
  const lines = createInterface({ input: process.stdin, crlfDelay: Infinity });
  let before = Promise.resolve();
  lines.on('line', (line) => {
    const order = JSON.parse(line);
    if (order.stop) stop();
    else if (order.post) before = before.then(() => post(order.post, send));
  });
  lines.on('close', stop);
}
