//! A simulated path, packet by packet in virtual time. Packets come in the order in which they are sent, and every stage before the
//! jitter keeps it, so no queue of events is needed.

use std::collections::HashMap;

use model::shaping::Arm;

use crate::noise::Noise;
use crate::scenario::{Cross, PathSpec, Police, Queue, Shape, Treatment};

const MS: f64 = 1e-3;
/// A silence after which a boost that comes again comes again.
const SILENCE_S: f64 = 0.4;

#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Seconds since the scenario's start.
    pub at: f64,
    /// Layer 3.
    pub size: f64,
    pub arm: Arm,
    /// Names the 5-tuple.
    pub flow: u64,
}

/// When and with which mark a packet arrives.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub at: f64,
    pub dscp: u8,
}

pub struct Path<'a> {
    spec: &'a PathSpec,
    noise: Noise,
    wave: (f64, f64),
    is_bad: bool,
    bad_until: f64,
    queue: Option<Fifo<'a>>,
    classes: Vec<Class<'a>>,
    /// What each flow's first packet was.
    first: HashMap<u64, Arm>,
    salt: u64,
}

impl<'a> Path<'a> {
    pub fn new(spec: &'a PathSpec, seed: u64) -> Path<'a> {
        let mut noise = Noise::new(seed);
        let salt = (noise.uniform() * 1e15) as u64;
        Path {
            spec,
            wave: (0.0, 0.0),
            is_bad: false,
            bad_until: 0.0,
            queue: spec.queue.as_ref().map(|queue| Fifo::new(queue, &mut noise)),
            classes: spec.treat.iter().map(Class::new).collect(),
            first: HashMap::new(),
            noise,
            salt,
        }
    }

    /// `None`: lost.
    pub fn send(&mut self, packet: &Packet) -> Option<Arrival> {
        let spec = self.spec;
        let mut at = packet.at;
        let mut dscp = packet.arm.dscp.get();
        let mut lost = spec.loss > 0.0 && self.noise.chance(spec.loss);
        if let Some(blackout) = spec.blackout {
            lost |= (at / blackout.every_s).fract() < blackout.share;
        }
        if let Some(change) = spec.route_change {
            lost |= (change.at_s..change.at_s + change.gap_s).contains(&at);
        }
        lost |= self.is_in_bad_state(at);
        if let Some(queue) = &mut self.queue {
            at = queue.pass(at, packet.size, &mut self.noise)?;
        }
        if lost {
            return None;
        }
        if spec.treat.iter().any(|treatment| treatment.first_packet) {
            self.first.entry(packet.flow).or_insert(packet.arm);
        }
        for class in &mut self.classes {
            let arm = match class.treatment.first_packet {
                true => self.first.get(&packet.flow).copied().unwrap_or(packet.arm),
                false => packet.arm,
            };
            if matches(class.treatment, &arm) {
                at = class.pass(at, packet.size, &mut dscp, &mut self.noise)?;
            }
        }
        at += spec.delay_ms * MS + spec.ns_per_byte * packet.size * 1e-9;
        if !spec.paths.is_empty() {
            let hash = (packet.flow ^ self.salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
            let path = spec.paths[(hash.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as usize % spec.paths.len()];
            if path.loss > 0.0 && self.noise.chance(path.loss) {
                return None;
            }
            at += path.ms * MS;
        }
        if let Some(change) = spec.route_change.filter(|change| at >= change.at_s) {
            at += change.ms * MS;
        }
        if let Some(wave) = spec.wave {
            let (value, since) = self.wave;
            let kept = (-(packet.at - since).max(0.0) / wave.seconds).exp();
            let value = value * kept + wave.sd_ms * (1.0 - kept * kept).sqrt() * self.noise.normal();
            self.wave = (value, packet.at);
            at += (value + 3.0 * wave.sd_ms).max(0.0) * MS;
        }
        if let Some(reordered) = spec.reordered.filter(|reordered| self.noise.chance(reordered.share)) {
            at += reordered.ms * MS;
        }
        let jitter = if spec.exponential {
            self.noise.exponential(spec.jitter_ms)
        } else {
            self.noise.normal() * spec.jitter_ms
        };
        Some(Arrival { at: (at + jitter * MS).max(packet.at), dscp })
    }

    fn is_in_bad_state(&mut self, at: f64) -> bool {
        let Some(bursts) = self.spec.bursts else { return false };
        while self.bad_until <= at {
            self.is_bad = !self.is_bad;
            self.bad_until += self.noise.exponential(if self.is_bad { bursts.bad_s } else { bursts.good_s });
        }
        self.is_bad && self.noise.chance(bursts.loss)
    }
}

fn matches(treatment: &Treatment, arm: &Arm) -> bool {
    (treatment.dscp.is_empty() || treatment.dscp.contains(&arm.dscp.get()))
        && (treatment.port.is_empty() || treatment.port.contains(&arm.port))
        && (treatment.payload.is_empty() || treatment.payload.contains(&arm.payload))
}

/// A drop-tail queue in front of a line.
struct Fifo<'a> {
    spec: &'a Queue,
    busy_until: f64,
    cross: Vec<Source<'a>>,
}

struct Source<'a> {
    spec: &'a Cross,
    next: f64,
    on_until: f64,
}

impl<'a> Fifo<'a> {
    fn new(spec: &'a Queue, noise: &mut Noise) -> Fifo<'a> {
        let source = |cross: &'a Cross| Source {
            spec: cross,
            next: cross.from_s + noise.uniform() * cross.size * 8.0 / cross.bps,
            on_until: if cross.on_s > 0.0 { cross.from_s } else { f64::INFINITY },
        };
        Fifo { spec, busy_until: 0.0, cross: spec.cross.iter().map(source).collect() }
    }

    /// When the packet has been served; `None` where it found the queue full.
    fn pass(&mut self, at: f64, size: f64, noise: &mut Noise) -> Option<f64> {
        while let Some(source) = self.cross.iter_mut().min_by(|a, b| a.next.total_cmp(&b.next)).filter(|s| s.next <= at)
        {
            let (now, size) = (source.next, source.spec.size);
            source.advance(noise);
            enqueue(self.spec, &mut self.busy_until, now, size);
        }
        enqueue(self.spec, &mut self.busy_until, at, size)
    }
}

fn enqueue(spec: &Queue, busy_until: &mut f64, at: f64, size: f64) -> Option<f64> {
    let waiting = (*busy_until - at).max(0.0) * spec.bps / 8.0;
    if waiting + size > spec.bytes {
        return None;
    }
    *busy_until = busy_until.max(at) + size * 8.0 / spec.bps;
    Some(*busy_until)
}

impl Source<'_> {
    fn advance(&mut self, noise: &mut Noise) {
        let gap = self.spec.size * 8.0 / self.spec.bps;
        self.next += if self.spec.poisson { noise.exponential(gap) } else { gap };
        if self.next > self.on_until {
            self.next = self.on_until + noise.exponential(self.spec.off_s);
            self.on_until = self.next + noise.exponential(self.spec.on_s);
        }
    }
}

/// State of what is done to one class.
struct Class<'a> {
    treatment: &'a Treatment,
    police: Option<Policer>,
    shape: Option<Shaper>,
    count: u32,
}

impl<'a> Class<'a> {
    fn new(treatment: &'a Treatment) -> Class<'a> {
        Class {
            treatment,
            police: treatment.police.map(|spec| Policer {
                spec,
                tokens: spec.burst_bytes,
                at: 0.0,
                boost: None,
                last: 0.0,
            }),
            shape: treatment.shape.map(|spec| Shaper { spec, tokens: spec.burst_bytes, at: 0.0 }),
            count: 0,
        }
    }

    fn pass(&mut self, mut at: f64, size: f64, dscp: &mut u8, noise: &mut Noise) -> Option<f64> {
        let treatment = self.treatment;
        self.count += 1;
        if treatment.every > 0 && self.count.is_multiple_of(treatment.every)
            || treatment.loss > 0.0 && noise.chance(treatment.loss)
        {
            return None;
        }
        if let Some(police) = &mut self.police
            && !police.conforms(at, size)
        {
            *dscp = police.spec.excess_dscp?;
        }
        if let Some(shape) = &mut self.shape {
            at = shape.pass(at, size)?;
        }
        if let Some(slow) = treatment.slow.filter(|slow| noise.chance(slow.share)) {
            at += slow.ms * MS;
        }
        Some(at + treatment.delay_ms * MS)
    }
}

struct Policer {
    spec: Police,
    tokens: f64,
    at: f64,
    /// Bytes since, and when it began.
    boost: Option<(f64, f64)>,
    last: f64,
}

impl Policer {
    fn conforms(&mut self, at: f64, size: f64) -> bool {
        let spec = self.spec;
        self.tokens = (self.tokens + (at - self.at) * spec.bps / 8.0).min(spec.burst_bytes);
        self.at = at;
        if spec.boost_again && at - self.last > SILENCE_S {
            self.boost = None;
        }
        self.last = at;
        let (bytes, since) = self.boost.get_or_insert((0.0, at));
        if *bytes < spec.boost_bytes || at - *since < spec.boost_s {
            *bytes += size;
            return true;
        }
        let conforms = self.tokens >= size;
        if conforms {
            self.tokens -= size;
        }
        conforms
    }
}

struct Shaper {
    spec: Shape,
    /// At the time `at`, which is that of the last departure.
    tokens: f64,
    at: f64,
}

impl Shaper {
    fn pass(&mut self, at: f64, size: f64) -> Option<f64> {
        let bytes_per_s = self.spec.bps / 8.0;
        if (self.at - at).max(0.0) * bytes_per_s + size > self.spec.queue_bytes {
            return None;
        }
        let begin = at.max(self.at);
        self.tokens = (self.tokens + (begin - self.at).max(0.0) * bytes_per_s).min(self.spec.burst_bytes);
        let wait = ((size - self.tokens) / bytes_per_s).max(0.0);
        self.tokens += wait * bytes_per_s - size;
        self.at = begin + wait;
        Some(self.at)
    }
}
