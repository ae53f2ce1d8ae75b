//! Searches on simulated paths in virtual time: policers, shapers, losses and delays at a known place, between routers that
//! answer readily, seldom or never. Every scenario runs with many seeds; the counts are printed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use measure::shaping::hop::Answer;
use model::report::Where;
use model::{Dscp, Ecn, Tos};

use crate::contrast::{Contrast, Next, Probe, Sought, Spot, Suffers, Windows, prepare, tell};

const RUNS: u64 = 200;
const LIMIT_S: u64 = 180;
const MS: u64 = 1_000_000;

/// How a router answers TTLs that run out.
#[derive(Clone, Copy, Debug)]
enum Errors {
    All,
    /// So many a second, and so many at once after a silence.
    Limited(f64, f64),
    /// This share, whatever is asked.
    Share(f64),
    Never,
}

/// Linux's default.
const LINUX: Errors = Errors::Limited(1.0, 6.0);

/// The rest of a bucket that fills with time.
struct Bucket {
    rate: f64,
    depth: f64,
    level: f64,
    at_ns: u64,
}

impl Bucket {
    fn new(rate: f64, depth: f64) -> Bucket {
        Bucket { rate, depth, level: depth, at_ns: 0 }
    }

    fn take(&mut self, amount: f64, now_ns: u64) -> bool {
        self.level = (self.level + (now_ns - self.at_ns) as f64 / 1e9 * self.rate).min(self.depth);
        self.at_ns = now_ns;
        let passes = self.level >= amount;
        if passes {
            self.level -= amount;
        }
        passes
    }
}

/// A path with one place at which the class is hit: between the hop of this index and the one before.
struct Network {
    errors: Vec<(Errors, Bucket)>,
    place: usize,
    /// Only this hop's answers are hit.
    only: Option<usize>,
    suffers: Suffers,
    policer: Bucket,
    /// When a shaper's queue is empty again, and how many nanoseconds of it there may be.
    queue: (u64, u64),
    loss: f64,
    /// Of each answer, at most.
    jitter_ns: u64,
    random: fastrand::Rng,
    due: BTreeSet<(u64, u32)>,
    answers: BTreeMap<u32, Answer>,
}

impl Network {
    fn new(errors: &[Errors], place: usize, suffers: Suffers, seed: u64) -> Network {
        let limit = |errors: &Errors| match errors {
            Errors::Limited(rate, burst) => Bucket::new(*rate, *burst),
            _ => Bucket::new(0.0, 0.0),
        };
        let policer = match suffers {
            Suffers::Policed { rate_bps, burst_bytes, .. } | Suffers::Shaped { rate_bps, burst_bytes } => {
                Bucket::new(rate_bps / 8.0, burst_bytes)
            }
            _ => Bucket::new(0.0, 0.0),
        };
        Network {
            errors: errors.iter().map(|errors| (*errors, limit(errors))).collect(),
            place,
            only: None,
            suffers,
            policer,
            queue: (0, 400 * MS),
            loss: 0.0,
            jitter_ns: MS,
            random: fastrand::Rng::with_seed(seed),
            due: BTreeSet::new(),
            answers: BTreeMap::new(),
        }
    }

    /// `None`: dropped; else the delay and whether it is remarked.
    fn pass_place(&mut self, bytes: u64, now_ns: u64) -> Option<(u64, bool)> {
        match self.suffers {
            Suffers::Policed { excess, .. } => match self.policer.take(bytes as f64, now_ns) {
                true => Some((0, false)),
                false => excess.map(|_| (0, true)),
            },
            Suffers::Shaped { rate_bps, .. } => {
                if self.queue.0 <= now_ns && self.policer.take(bytes as f64, now_ns) {
                    return Some((0, false));
                }
                let wait_ns = self.queue.0.saturating_sub(now_ns);
                if wait_ns > self.queue.1 {
                    return None;
                }
                let takes_ns = (bytes as f64 * 8e9 / rate_bps) as u64;
                self.queue.0 = now_ns + wait_ns + takes_ns;
                Some((wait_ns + takes_ns, false))
            }
            Suffers::Lost { share } => (self.random.f64() >= share).then_some((0, false)),
            Suffers::Late { by_ns } => Some((by_ns as u64, false)),
        }
    }

    fn load(&mut self, bytes: u64, now_ns: u64) {
        self.pass_place(bytes, now_ns);
    }

    fn probe(&mut self, probe: Probe, bytes: u64, now_ns: u64) {
        let (mut late_ns, mut remarked) = (0, false);
        if self.random.f64() < self.loss {
            return;
        }
        if probe.is_subject && probe.hop >= self.place && self.only.is_none_or(|only| probe.hop == only) {
            match self.pass_place(bytes, now_ns) {
                None => return,
                Some((by_ns, mark)) => (late_ns, remarked) = (by_ns, mark),
            }
        }
        let at_ns = now_ns + late_ns + 10 * MS;
        let (errors, bucket) = &mut self.errors[probe.hop];
        let answers = match errors {
            Errors::All => true,
            Errors::Limited(..) => bucket.take(1.0, at_ns.max(bucket.at_ns)),
            Errors::Share(share) => self.random.f64() < *share,
            Errors::Never => false,
        };
        if !answers || self.random.f64() < self.loss {
            return;
        }
        let at_ns = at_ns + self.random.u64(0..self.jitter_ns.max(1));
        self.due.insert((at_ns, probe.id));
        self.answers.insert(probe.id, Answer { round_trip_ns: (at_ns - now_ns) as i64, remarked });
    }
}

fn contrast(suffers: Suffers) -> Contrast {
    let mark = |dscp| Tos::new(dscp, Ecn::NotEct);
    Contrast {
        target: "198.51.100.7".parse().unwrap(),
        port: 8620,
        sought: Sought { subject: mark(Dscp::EF), control: mark(Dscp::BEST_EFFORT), suffers },
        size: 192,
        alpha: 0.001,
        limit: Duration::from_secs(LIMIT_S),
        budget_bytes: 3_000_000,
        clock: net::Clock::identity(),
    }
}

struct Outcome {
    place: Result<Where, String>,
    seconds: f64,
    bytes: u64,
    sent_bytes: u64,
}

/// One search. The last of `errors` is the target's.
fn search(mut network: Network, seed: u64) -> Outcome {
    let hops = network.errors.len();
    let contrast = contrast(network.suffers);
    let prepared = prepare(&contrast, hops, contrast.budget_bytes, LIMIT_S * 1_000 * MS).unwrap();
    let mut windows = Windows::new(
        hops,
        prepared.effect,
        contrast.alpha,
        prepared.overload,
        prepared.sizes,
        contrast.budget_bytes,
        (0, LIMIT_S * 1_000 * MS),
        seed,
    );
    let spots: Vec<Spot> = (0..hops).map(|i| Spot { hop: i as u8 + 1, is_target: i + 1 == hops }).collect();
    let (mut now_ns, mut sent_bytes) = (0u64, 0u64);
    loop {
        while let Some((at_ns, id)) = network.due.first().copied()
            && at_ns <= now_ns
        {
            network.due.pop_first();
            windows.answered(id, network.answers.remove(&id).unwrap());
        }
        match windows.next(now_ns) {
            Next::Done => break,
            Next::Load => {
                sent_bytes += prepared.sizes.load;
                network.load(prepared.sizes.load, now_ns);
            }
            Next::Probe(probe) => {
                let bytes = prepared.sizes.load + u64::from(probe.id % 256);
                sent_bytes += bytes;
                network.probe(probe, bytes, now_ns);
            }
            Next::Wait(until_ns) => {
                now_ns = network.due.first().map_or(until_ns, |(at_ns, _)| until_ns.min((*at_ns).max(now_ns + 1)));
            }
        }
    }
    let sighting = tell(&windows, &spots, windows.end());
    Outcome { place: sighting.place, seconds: now_ns as f64 / 1e9, bytes: sighting.bytes, sent_bytes }
}

/// How often which outcome came.
#[derive(Default)]
struct Tally {
    right: u64,
    /// The named place holds the true one and more.
    wide: u64,
    wrong: u64,
    reasons: BTreeMap<String, u64>,
}

fn many(name: &str, truth: Option<Where>, network: impl Fn(u64) -> Network) -> Tally {
    let mut tally = Tally::default();
    let (mut seconds, mut bytes) = (Vec::new(), 0);
    for seed in 0..RUNS {
        let outcome = search(network(seed), seed);
        assert!(outcome.sent_bytes <= outcome.bytes && outcome.bytes <= 3_000_000);
        let holds = |place: Where| truth.is_some_and(|t| place.after_hop <= t.after_hop && place.by_hop >= t.by_hop);
        match outcome.place {
            Ok(place) if Some(place) == truth => tally.right += 1,
            Ok(place) if holds(place) => tally.wide += 1,
            Ok(_) => tally.wrong += 1,
            Err(reason) => *tally.reasons.entry(reason).or_default() += 1,
        }
        seconds.push(outcome.seconds);
        bytes = bytes.max(outcome.bytes);
    }
    seconds.sort_by(f64::total_cmp);
    println!(
        "{name}: {} right, {} wide, {} wrong, {} open of {RUNS}; {:.0} s median, at most {:.0} s and {} kB",
        tally.right,
        tally.wide,
        tally.wrong,
        tally.reasons.values().sum::<u64>(),
        seconds[seconds.len() / 2],
        seconds[seconds.len() - 1],
        bytes / 1_000
    );
    for (reason, count) in tally.reasons.iter().take(3) {
        println!("    {count}: {reason}");
    }
    tally
}

const POLICED: Suffers = Suffers::Policed { rate_bps: 313_280.0, burst_bytes: 11_000.0, excess: None };
const SHAPED: Suffers = Suffers::Shaped { rate_bps: 376_000.0, burst_bytes: 9_400.0 };

fn between(after_hop: u8, by_hop: u8) -> Option<Where> {
    Some(Where { after_hop, by_hop })
}

#[test]
fn limits_losses_and_delays_are_placed_where_they_are() {
    let remarked = Suffers::Policed { rate_bps: 1e6, burst_bytes: 30_000.0, excess: Dscp::new(8) };
    let cases = [
        ("policer, Linux routers", POLICED, [LINUX; 5], 2),
        ("policer at the first hop", POLICED, [LINUX; 5], 0),
        ("policer before the target", POLICED, [LINUX; 5], 4),
        ("policer, quick routers", POLICED, [Errors::All; 5], 3),
        ("shaper, Linux routers", SHAPED, [LINUX; 5], 2),
        ("shaper, mixed routers", SHAPED, [Errors::All, LINUX, Errors::Limited(50.0, 100.0), Errors::All, LINUX], 3),
        ("remarked excess", remarked, [LINUX; 5], 2),
        ("loss of 40 %, Linux routers", Suffers::Lost { share: 0.4 }, [LINUX; 5], 2),
        ("loss of 5 %, quick routers", Suffers::Lost { share: 0.05 }, [Errors::Limited(50.0, 100.0); 5], 2),
        ("2 ms late, Linux routers", Suffers::Late { by_ns: 2e6 }, [LINUX; 5], 2),
    ];
    for (name, suffers, errors, place) in cases {
        let truth = between(place as u8, place as u8 + 1);
        let tally = many(name, truth, |seed| {
            let mut network = Network::new(&errors, place, suffers, seed);
            network.loss = 0.002;
            network
        });
        assert!(tally.right >= RUNS * 19 / 20, "{name}: {} of {RUNS}", tally.right);
        assert!(tally.wrong <= 1, "{name}: {} wrong", tally.wrong);
    }
}

#[test]
fn silent_routers_widen_the_place_and_rare_ones_leave_it_open() {
    let silent = [LINUX, Errors::Never, LINUX, LINUX];
    let tally = many("silent hop", between(1, 3), |seed| Network::new(&silent, 1, POLICED, seed));
    assert!(tally.right >= RUNS * 19 / 20 && tally.wrong == 0, "{} right, {} wrong", tally.right, tally.wrong);
    // Once in half a minute, or one of fifty. Who does not answer at all meanwhile is silent.
    for rare in [Errors::Limited(0.03, 1.0), Errors::Share(0.02)] {
        let errors = [LINUX, rare, LINUX, LINUX];
        let tally = many("rare hop", between(1, 2), |seed| Network::new(&errors, 1, POLICED, seed));
        assert!(tally.wrong == 0 && tally.right <= RUNS / 20, "{} right, {} wrong", tally.right, tally.wrong);
        assert!(
            tally.reasons.keys().all(|reason| reason.starts_with("hop 2 answers too rarely")),
            "{:?}",
            tally.reasons
        );
    }
}

#[test]
fn nothing_is_named_where_nothing_shows() {
    // It was hit while it was measured, and is not now.
    for errors in [[LINUX; 4], [Errors::Share(0.3); 4], [Errors::Limited(0.4, 2.0); 4], [Errors::Never; 4]] {
        let Tally { wrong, reasons, .. } = many(&format!("nothing shows, {:?}", errors[0]), None, |seed| {
            let mut network = Network::new(&errors, 2, POLICED, seed);
            network.policer = Bucket::new(1e9, 1e9);
            network.loss = 0.05;
            network
        });
        assert!(wrong <= 1, "{wrong} of {RUNS} named: {reasons:?}");
    }
    // A router that answers the class seldom, and passes it on as the rest: its own answers are no place.
    let tally = many("one router's own answers", None, |seed| {
        let mut network = Network::new(&[LINUX; 5], 1, Suffers::Lost { share: 0.7 }, seed);
        network.only = Some(1);
        network
    });
    assert!(tally.wrong <= 1, "{} named, {:?}", tally.wrong, tally.reasons);
    // Nobody answers behind the place.
    let errors = [LINUX, LINUX, Errors::Never];
    let Tally { wrong, reasons, .. } = many("nobody behind it", None, |seed| Network::new(&errors, 2, POLICED, seed));
    assert_eq!(wrong, 0);
    assert!(reasons.keys().all(|reason| reason.starts_with("nothing answers behind hop 2")), "{reasons:?}");
}

#[test]
fn what_costs_more_than_there_is_says_so() {
    let ask =
        |suffers, bytes| prepare(&contrast(suffers), 5, bytes, LIMIT_S * 1_000 * MS).map(|prepared| prepared.effect);
    let fast = Suffers::Policed { rate_bps: 5e6, burst_bytes: 100_000.0, excess: None };
    assert!(ask(fast, 1_000_000).unwrap_err().contains("MB"));
    assert!(ask(POLICED, 3_000_000).is_ok());
    let too_fast = Suffers::Policed { rate_bps: 500e6, burst_bytes: 1e6, excess: None };
    assert!(ask(too_fast, u64::MAX).unwrap_err().contains("packets a second"));
    assert!(ask(Suffers::Lost { share: 0.005 }, u64::MAX).unwrap_err().contains("answers of each hop"));
}
