//! The clock model against simulated links whose truth is known.

mod simulated;

use measure::{ClockModel, ClockTracker, Delay, Exchange};
use model::UnixNanos;
use simulated::*;

fn fit(events: &[Event]) -> ClockModel {
    ClockModel::fit(events.iter().map(|event| event.exchange)).unwrap()
}

struct Errors {
    /// Largest error of a delay that is not ambiguous, ns.
    largest: f64,
    /// Largest stated uncertainty of those.
    uncertainty: f64,
    ambiguous: usize,
}

/// Delays whose error exceeds the stated uncertainty, and all.
fn misses(model: &ClockModel, events: &[Event]) -> (usize, usize) {
    let miss = |delay: Option<Delay>, truth: f64| {
        delay.is_none_or(|delay| (delay.ns - truth).abs() > delay.uncertainty_ns + 1_000.0)
    };
    let count = |event: &Event| {
        let Exchange { t1, t2, t3, t4 } = event.exchange;
        usize::from(miss(model.owd_up(t1, t2), event.delay_up))
            + usize::from(miss(model.owd_down(t3, t4), event.delay_down))
    };
    (events.iter().map(count).sum(), 2 * events.len())
}

/// Holds every delay against the truth: the error must lie within the stated uncertainty.
fn check(model: &ClockModel, events: &[Event], label: &str) -> Errors {
    let mut errors = Errors { largest: 0.0, uncertainty: 0.0, ambiguous: 0 };
    for event in events {
        let Exchange { t1, t2, t3, t4 } = event.exchange;
        for (delay, truth) in [(model.owd_up(t1, t2), event.delay_up), (model.owd_down(t3, t4), event.delay_down)] {
            let Delay { ns, uncertainty_ns, ambiguous } = delay.unwrap();
            let error = (ns - truth).abs();
            assert!(
                error <= uncertainty_ns + 1_000.0,
                "{label}: at {:.3} s: {:.3} ms instead of {:.3}, stated +-{:.3}",
                event.at / SECOND,
                ns / MS,
                truth / MS,
                uncertainty_ns / MS
            );
            if ambiguous {
                errors.ambiguous += 1;
            } else {
                errors.largest = errors.largest.max(error);
                errors.uncertainty = errors.uncertainty.max(uncertainty_ns);
            }
        }
    }
    errors
}

#[test]
fn skew_and_a_step_of_250_ms_leave_less_than_a_millisecond() {
    for (seed, step) in [(1, 250.0), (2, -250.0), (3, 40.0), (4, -40.0), (5, 5_000.0), (6, -5_000.0)] {
        let mut link = Link::symmetric(15.0 * MS, 0.5 * MS);
        link.worker.offset_ns = 3.7 * SECOND;
        link.worker.skew_ppm = 200.0;
        link.worker.steps = vec![(300.4 * SECOND, step * MS)];
        let events = link.run(600.0, 10.0, seed);
        let model = fit(&events);
        let errors = check(&model, &events, &format!("step {step} ms"));
        assert_eq!(model.steps(), 1, "step {step} ms");
        assert!(errors.largest < MS, "step {step} ms: {} ms", errors.largest / MS);
        assert!(errors.uncertainty < 17.0 * MS, "step {step} ms: +-{} ms", errors.uncertainty / MS);
        assert!(errors.ambiguous <= 12, "step {step} ms: {} ambiguous", errors.ambiguous);
        // Server minus worker: the worker gains 200 us each second.
        let skew = model.segments()[0].skew_ppm;
        assert!((skew + 200.0).abs() < 2.0, "{skew} ppm");
    }
}

#[test]
fn steps_of_the_servers_clock_are_steps_too() {
    for step in [250.0, -250.0] {
        let mut link = Link::symmetric(20.0 * MS, MS);
        link.server.steps = vec![(100.0 * SECOND, step * MS)];
        link.worker.skew_ppm = -30.0;
        let events = link.run(200.0, 10.0, 3);
        let model = fit(&events);
        assert_eq!(model.steps(), 1, "{step}");
        // Within the overlap of a backward step one server reading means two times; leave the second around it out.
        let clear: Vec<Event> =
            events.iter().copied().filter(|event| (event.at - 100.0 * SECOND).abs() > SECOND).collect();
        check(&model, &clear, "server step");
    }
}

#[test]
fn several_steps_are_counted_each() {
    let mut link = Link::symmetric(10.0 * MS, 0.3 * MS);
    link.worker.steps = vec![(60.0 * SECOND, 100.0 * MS), (120.0 * SECOND, -300.0 * MS), (180.0 * SECOND, 50.0 * MS)];
    let events = link.run(240.0, 10.0, 9);
    let model = fit(&events);
    assert_eq!(model.steps(), 3);
    assert_eq!(model.segments().iter().filter(|segment| segment.after_step).count(), 3);
    check(&model, &events, "three steps");
}

#[test]
fn a_step_smaller_than_the_round_trip_is_found() {
    for (seed, step) in [(1, 20.0), (2, -20.0), (3, 12.0), (4, -12.0)] {
        let mut link = Link::symmetric(40.0 * MS, MS);
        link.worker.steps = vec![(150.2 * SECOND, step * MS)];
        link.worker.skew_ppm = 40.0;
        let events = link.run(300.0, 10.0, seed);
        let model = fit(&events);
        assert_eq!(model.steps(), 1, "step {step} ms");
        let errors = check(&model, &events, "small step");
        assert!(errors.largest < 1.5 * MS, "step {step} ms: {} ms", errors.largest / MS);
    }
}

#[test]
fn queues_and_routes_are_no_steps() {
    let quiet = || Link::symmetric(20.0 * MS, MS);
    let minute = 60.0 * SECOND;
    let cases: Vec<(&str, Link)> = vec![
        ("bufferbloat up", Link { extra_up: ramp(2.0 * minute, 4.0 * minute, 500.0 * MS), ..quiet() }),
        ("bufferbloat down", Link { extra_down: ramp(2.0 * minute, 2.5 * minute, 500.0 * MS), ..quiet() }),
        ("bloated from the start", Link { extra_up: ramp(-minute, minute, 500.0 * MS), ..quiet() }),
        ("bloated at the end", Link { extra_up: ramp(9.0 * minute, 11.0 * minute, 500.0 * MS), ..quiet() }),
        ("a queue that fills at once", Link { extra_up: route_change(5.0 * minute, 300.0 * MS), ..quiet() }),
        ("longer up", Link { extra_up: route_change(5.0 * minute, 30.0 * MS), ..quiet() }),
        ("shorter up", Link { base_up: 60.0 * MS, extra_up: route_change(5.0 * minute, -40.0 * MS), ..quiet() }),
        (
            "longer both ways",
            Link {
                extra_up: route_change(5.0 * minute, 25.0 * MS),
                extra_down: route_change(5.0 * minute, 10.0 * MS),
                ..quiet()
            },
        ),
        (
            "longer up, shorter down",
            Link {
                base_down: 40.0 * MS,
                extra_up: route_change(5.0 * minute, 30.0 * MS),
                extra_down: route_change(5.0 * minute, -15.0 * MS),
                ..quiet()
            },
        ),
        ("heavy jitter", Link::symmetric(20.0 * MS, 30.0 * MS)),
    ];
    for (label, mut link) in cases {
        link.worker.skew_ppm = 120.0;
        link.worker.offset_ns = -9.0 * SECOND;
        for seed in 0..5 {
            let events = link.run(600.0, 5.0, seed);
            let model = fit(&events);
            assert_eq!(model.steps(), 0, "{label}, seed {seed}: {:?}", model.segments());
            check(&model, &events, label);
        }
    }
}

#[test]
fn a_queue_in_one_direction_does_not_move_the_offset() {
    let link =
        Link { extra_up: ramp(120.0 * SECOND, 240.0 * SECOND, 500.0 * MS), ..Link::symmetric(20.0 * MS, 0.5 * MS) };
    let events = link.run(600.0, 10.0, 4);
    let errors = check(&fit(&events), &events, "ramp");
    assert!(errors.largest < MS, "{} ms", errors.largest / MS);
}

#[test]
fn a_slewing_time_daemon_and_a_drifting_crystal_stay_within_the_uncertainty() {
    let mut slewed = Link::symmetric(15.0 * MS, 0.5 * MS);
    slewed.worker.slews = vec![(200.0 * SECOND, 500.0 * SECOND, 400.0)];
    let mut drifting = Link::symmetric(15.0 * MS, 0.5 * MS);
    drifting.worker.skew_ppm = 30.0;
    drifting.worker.drift_ppm_per_s = 0.005;
    for (label, link, seconds) in [("slew", slewed, 900.0), ("drift", drifting, 3_600.0)] {
        let events = link.run(seconds, 5.0, 5);
        let model = fit(&events);
        assert_eq!(model.steps(), 0, "{label}");
        let errors = check(&model, &events, label);
        assert!(errors.largest < 2.0 * MS, "{label}: {} ms", errors.largest / MS);
        assert!(errors.uncertainty < 20.0 * MS, "{label}: +-{} ms", errors.uncertainty / MS);
    }
}

#[test]
fn the_uncertainty_covers_the_truth_on_asymmetric_paths() {
    let (mut missed, mut all) = (0, 0);
    for seed in 0..600 {
        let mut random = Random::new(1_000 + seed);
        let mut link = Link::symmetric(0.0, 0.0);
        link.base_up = random.exponential(30.0 * MS);
        link.base_down = random.exponential(30.0 * MS);
        link.jitter_up = random.exponential(3.0 * MS);
        link.jitter_down = random.exponential(3.0 * MS);
        link.worker.offset_ns = random.between(-1e5, 1e5) * SECOND;
        link.worker.skew_ppm = random.between(-500.0, 500.0);
        let seconds = random.between(5.0, 400.0);
        if random.chance(0.5) {
            let by = random.between(-400.0, 400.0) * MS;
            link.worker.steps = vec![(random.unit() * seconds * SECOND, by)];
        }
        let bloated = random.chance(0.3);
        if bloated {
            link.extra_up = ramp(0.2 * seconds * SECOND, random.between(0.3, 1.5) * seconds * SECOND, 500.0 * MS);
        }
        if random.chance(0.3) {
            link.extra_down = route_change(random.unit() * seconds * SECOND, random.exponential(40.0 * MS));
        }
        let rate = random.between(1.0, 30.0);
        let events = link.run(seconds, rate, seed);
        // A step in a run's first or last moments leaves too few exchanges on one side to tell it from an outlier.
        let moments = (4.0 / rate).max(0.6) * SECOND;
        let clear: Vec<Event> = events
            .iter()
            .copied()
            .filter(|event| {
                link.worker.steps.iter().all(|(at, _)| {
                    (event.at + event.delay_up + event.delay_down < *at || seconds * SECOND - at > moments)
                        && (event.at + SECOND > *at || *at > moments)
                })
            })
            .collect();
        if bloated && !link.worker.steps.is_empty() {
            // A step smaller than the queue may hide in it for as long as the queue lasts.
            let (some, of) = misses(&fit(&events), &clear);
            missed += some;
            all += of;
        } else {
            check(&fit(&events), &clear, &format!("seed {seed}"));
        }
    }
    println!("steps within queues: {missed} of {all} delays outside the uncertainty");
    assert!(missed * 50 < all, "{missed} of {all}");
}

#[test]
fn hostile_stamps_neither_panic_nor_poison() {
    let mut link = Link::symmetric(15.0 * MS, 0.5 * MS);
    link.worker.skew_ppm = 50.0;
    let events = link.run(300.0, 5.0, 8);
    let mut exchanges: Vec<Exchange> = events.iter().map(|event| event.exchange).collect();
    let extremes = [i64::MIN, i64::MIN + 1, -1, 0, 1, EPOCH, i64::MAX - 1, i64::MAX];
    let mut random = Random::new(77);
    let mut pick = || UnixNanos(extremes[random.bits() as usize % extremes.len()]);
    let hostile: Vec<Exchange> =
        (0..3_000).map(|_| Exchange { t1: pick(), t2: pick(), t3: pick(), t4: pick() }).collect();
    // Whatever of these is possible at all (all four equal, say) lies far from the measurement in time.
    exchanges.extend(&hostile);
    // A plausible round trip on a clock that is an hour off, now and then.
    for event in events.iter().step_by(100) {
        let mut odd = event.exchange;
        odd.t1 = odd.t1.plus(3_600_000_000_000);
        odd.t4 = odd.t4.plus(3_600_000_000_000 - 20_000_000);
        exchanges.push(odd);
    }
    let model = ClockModel::fit(exchanges).unwrap();
    assert!(model.discarded() > 2_000, "{}", model.discarded());
    check(&model, &events, "hostile");
    for exchange in &hostile {
        let _ = model.owd_up(exchange.t1, exchange.t2);
        let _ = model.owd_down(exchange.t3, exchange.t4);
        let _ = model.offset_at(exchange.t2);
    }
    assert!(ClockModel::fit(Vec::new()).is_none());
    let mut tracker = ClockTracker::new();
    for exchange in hostile {
        tracker.add(exchange);
    }
}

#[test]
fn clocks_decades_apart_keep_their_precision() {
    let mut link = Link::symmetric(2.0 * MS, 0.1 * MS);
    // A board without a battery starts in 1990.
    link.worker.offset_ns = -36.0 * 365.0 * 86_400.0 * SECOND;
    let events = link.run(60.0, 10.0, 2);
    // The simulation itself computes in f64, hence the microsecond.
    let errors = check(&fit(&events), &events, "decades");
    assert!(errors.largest < 0.5 * MS, "{} ms", errors.largest / MS);
}

#[test]
fn the_tracker_follows_hours_in_bounded_memory() {
    let mut link = Link::symmetric(15.0 * MS, MS);
    link.worker.skew_ppm = 20.0;
    link.worker.drift_ppm_per_s = 2e-4;
    link.worker.steps = vec![(5_000.0 * SECOND, 250.0 * MS), (17_000.0 * SECOND, -80.0 * MS)];
    let events = link.run(21_600.0, 1.0, 6);
    let mut tracker = ClockTracker::new();
    for chunk in events.chunks(300) {
        for event in chunk {
            tracker.add(event.exchange);
        }
        tracker.refit();
        // As the server does: what came in with the same upload.
        check(tracker.model().unwrap(), chunk, "live");
    }
    let model = tracker.model().unwrap();
    assert_eq!(model.steps(), 2);
    assert_eq!(tracker.late(), 0);
    let errors = check(model, &events, "afterwards");
    assert!(errors.largest < 1.5 * MS, "{} ms", errors.largest / MS);
    assert!(model.segments().len() < 60, "{}", model.segments().len());
}

#[test]
fn the_tracker_gives_no_delay_by_a_clock_that_was_stepped_since_its_last_fit() {
    let mut link = Link::symmetric(15.0 * MS, MS);
    link.worker.skew_ppm = 20.0;
    link.worker.steps = vec![(400.0 * SECOND, 250.0 * MS), (700.0 * SECOND, -400.0 * MS)];
    let events = link.run(1_000.0, 5.0, 3);
    let mut tracker = ClockTracker::new();
    let (mut given, mut wrong_by_the_last_fit) = (0, 0);
    let wrong = |delay: Option<Delay>, truth: f64| {
        delay.is_some_and(|delay| (delay.ns - truth).abs() > delay.uncertainty_ns + 1e3)
    };
    for event in &events {
        tracker.add(event.exchange);
        let up = |model: &ClockModel| model.owd_up(event.exchange.t1, event.exchange.t2);
        wrong_by_the_last_fit += u32::from(wrong(tracker.model().and_then(up), event.delay_up));
        let settled = tracker.settled_model().and_then(up);
        assert!(!wrong(settled, event.delay_up), "at {} s: {settled:?}", event.at / SECOND);
        given += u32::from(settled.is_some());
    }
    assert!(wrong_by_the_last_fit > 0, "the steps were no test");
    assert!(given > 4_900, "{given} of 5000: a step costs some seconds of delays, not more");
    assert_eq!(tracker.model().unwrap().steps(), 2);
}

#[test]
fn the_summary_states_offset_skew_and_steps() {
    let mut link = Link::symmetric(10.0 * MS, 0.2 * MS);
    link.worker.offset_ns = -2.0 * SECOND;
    link.worker.skew_ppm = -100.0;
    let clock = fit(&link.run(100.0, 10.0, 1)).summary();
    assert_eq!(clock.steps, 0);
    assert!((clock.skew_ppm - 100.0).abs() < 1.0, "{}", clock.skew_ppm);
    // Two seconds, and 10 ms gained by the end.
    assert!((clock.offset_ms - 2_010.0).abs() < 0.5, "{}", clock.offset_ms);
    assert!((10.0..10.6).contains(&clock.uncertainty_ms), "{}", clock.uncertainty_ms);
}
