//! The explorer against routers that limit their ICMP errors, in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::explore::{Explorer, Next, Probe};

/// A router's token bucket as Linux has it: `burst` at once, then one in `interval_ns`.
#[derive(Clone, Debug)]
struct Router {
    silent: bool,
    burst: f64,
    interval_ns: f64,
    tokens: f64,
    updated_ns: u64,
}

impl Router {
    fn limited(burst: f64, interval_ns: f64) -> Router {
        Router { silent: false, burst, interval_ns, tokens: burst, updated_ns: 0 }
    }

    fn quick() -> Router {
        Router::limited(1e9, 1.0)
    }

    fn silent() -> Router {
        Router { silent: true, ..Router::quick() }
    }

    fn answers(&mut self, now_ns: u64) -> bool {
        let gained = (now_ns - self.updated_ns) as f64 / self.interval_ns;
        self.updated_ns = now_ns;
        self.tokens = (self.tokens + gained).min(self.burst);
        let answers = !self.silent && self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(answers));
        answers
    }
}

struct Outcome {
    /// Answers by hop and class.
    answers: BTreeMap<(u8, usize), u32>,
    sent: BTreeMap<u8, u32>,
    seconds: f64,
    /// The most probes sent within any second.
    busiest_second: usize,
}

/// The last router is the destination. `lost`: drops this probe.
fn simulate(mut routers: Vec<Router>, classes: usize, rate_pps: f64, lost: impl Fn(&Probe) -> bool) -> Outcome {
    const RTT_NS: u64 = 10_000_000;
    let mut explorer = Explorer::new(classes, 3, 30, Duration::from_secs(1), rate_pps);
    let mut outcome = Outcome { answers: BTreeMap::new(), sent: BTreeMap::new(), seconds: 0.0, busiest_second: 0 };
    let (mut now_ns, mut arriving) = (0u64, Vec::<(u64, Probe)>::new());
    let mut times = Vec::new();
    for _ in 0..1_000_000 {
        while let Some(place) = arriving.iter().position(|(at_ns, _)| *at_ns <= now_ns) {
            let (_, probe) = arriving.remove(place);
            let destination = routers.len() as u8;
            let ends_at = (probe.ttl >= destination).then_some(probe.ttl);
            assert!(explorer.answered(probe.id, ends_at), "an answer counts once");
            *outcome.answers.entry((probe.ttl, probe.class)).or_default() += 1;
        }
        match explorer.next(now_ns) {
            Next::Done => {
                outcome.seconds = now_ns as f64 / 1e9;
                outcome.busiest_second = times
                    .iter()
                    .map(|from| times.iter().filter(|at| (*from..*from + 1_000_000_000).contains(*at)).count())
                    .max()
                    .unwrap_or(0);
                return outcome;
            }
            Next::Send(probe) => {
                explorer.sent(probe, now_ns);
                times.push(now_ns);
                *outcome.sent.entry(probe.ttl).or_default() += 1;
                let index = usize::from(probe.ttl).min(routers.len()) - 1;
                if !lost(&probe) && routers[index].answers(now_ns) {
                    arriving.push((now_ns + RTT_NS, probe));
                }
            }
            Next::Wait(until_ns) => {
                assert!(until_ns > now_ns, "waiting for the past");
                let arrival = arriving.iter().map(|(at_ns, _)| *at_ns).min();
                now_ns = arrival.map_or(until_ns, |at_ns| at_ns.min(until_ns)).max(now_ns + 1);
            }
        }
    }
    panic!("it does not end");
}

#[test]
fn every_hop_answers_three_times_for_each_class() {
    let outcome = simulate(vec![Router::quick(); 6], 4, 50.0, |_| false);
    for hop in 1..=6 {
        for class in 0..4 {
            assert_eq!(outcome.answers.get(&(hop, class)), Some(&3), "hop {hop}, class {class}");
        }
    }
    assert!(outcome.busiest_second <= 51, "{}", outcome.busiest_second);
}

#[test]
fn routers_that_answer_once_a_second_are_waited_for_side_by_side() {
    let linux = Router::limited(6.0, 1e9);
    let outcome = simulate(vec![linux; 8], 8, 50.0, |_| false);
    for hop in 1..=8 {
        for class in 0..8 {
            assert_eq!(outcome.answers.get(&(hop, class)), Some(&3), "hop {hop}, class {class}");
        }
    }
    // 24 answers from each: 6 at once and 18 at one a second, whatever the number of hops. In virtual time.
    assert!((18.0..30.0).contains(&outcome.seconds), "{}", outcome.seconds);
    // And without flooding them: less than twice as many probes as answers.
    assert!(outcome.sent.values().all(|sent| *sent < 48), "{:?}", outcome.sent);
}

#[test]
fn a_slower_limit_than_ours_is_met_as_far_as_it_allows() {
    // One answer in 3 s and no burst: every class is heard of at least once.
    let mut routers = vec![Router::quick(); 3];
    routers[1] = Router::limited(1.0, 3e9);
    let outcome = simulate(routers, 2, 50.0, |_| false);
    assert!((0..2).all(|class| outcome.answers.contains_key(&(2, class))), "{:?}", outcome.answers);
}

#[test]
fn a_silent_hop_is_asked_quickly_and_slowly_and_then_left() {
    let mut routers = vec![Router::quick(); 4];
    routers[1] = Router::silent();
    let outcome = simulate(routers, 3, 50.0, |_| false);
    assert_eq!(outcome.sent.get(&2), Some(&6));
    assert_eq!(outcome.answers.get(&(4, 2)), Some(&3));
}

#[test]
fn a_silent_target_ends_the_search_five_hops_behind_the_last_that_answered() {
    let mut routers = vec![Router::quick(); 30];
    routers[3..].fill(Router::silent());
    let outcome = simulate(routers, 2, 50.0, |_| false);
    assert_eq!(outcome.sent.keys().max(), Some(&8));
    // Five silent hops in a row on the way are got over.
    let mut routers = vec![Router::quick(); 12];
    routers[3..7].fill(Router::silent());
    let outcome = simulate(routers, 1, 50.0, |_| false);
    assert_eq!(outcome.answers.get(&(12, 0)), Some(&3));
}

#[test]
fn a_class_that_is_dropped_on_the_way_does_not_keep_the_others() {
    let outcome = simulate(vec![Router::quick(); 5], 3, 50.0, |probe| probe.class == 1 && probe.ttl > 2);
    assert_eq!(outcome.answers.get(&(2, 1)), Some(&3));
    assert_eq!(outcome.answers.get(&(4, 1)), None);
    assert_eq!(outcome.answers.get(&(4, 2)), Some(&3));
}

#[test]
fn one_lost_probe_in_ten_costs_nothing_but_time() {
    let outcome = simulate(vec![Router::quick(); 6], 4, 50.0, |probe| probe.id % 10 == 7);
    for hop in 1..=6 {
        for class in 0..4 {
            assert_eq!(outcome.answers.get(&(hop, class)), Some(&3), "hop {hop}, class {class}");
        }
    }
}

#[test]
fn an_answer_after_its_time_still_counts() {
    let mut explorer = Explorer::new(1, 3, 1, Duration::from_secs(1), 1000.0);
    let Next::Send(probe) = explorer.next(0) else { panic!("nothing to send") };
    explorer.sent(probe, 0);
    assert!(!matches!(explorer.next(2_000_000_000), Next::Done));
    assert!(explorer.answered(probe.id, None));
    assert!(!explorer.answered(probe.id, None), "once");
    assert!(!explorer.answered(99, None), "never sent");
    assert_eq!(explorer.counts(1), (1, 1));
}
