//! The policing detector of Flach et al., "An Internet-Wide Analysis of Traffic Policing" (SIGCOMM 2016): the rate is the goodput between
//! the first and the last loss; replayed through a bucket that is empty at the first loss, lost packets must find it
//! (nearly) empty and passed ones must find it filled, with some slack for what is off by round trips.

use measure::shaping::Observed;

const LEAST_LOSSES: usize = 15;
/// Share of the losses, and of the passed packets, that may be out of range.
const LOSSES_OUT: f64 = 0.1;
const PASSES_OUT: f64 = 0.03;
/// What counts as nearly empty at a loss, and as overdrawn at a pass, in round trips of the policing rate.
const LOSS_SLACK: f64 = 0.75;
const PASS_SLACK: f64 = 2.0;

/// The policing rate in bits per second, where one is seen.
pub fn policed(train: &[Observed]) -> Option<f64> {
    let lost: Vec<usize> = (0..train.len()).filter(|index| train[*index].received_ns.is_none()).collect();
    if lost.len() < LEAST_LOSSES {
        return None;
    }
    let (first, last) = (lost[0], lost[lost.len() - 1]);
    let seconds = |index: usize| train[index].sent_ns as f64 / 1e9;
    let span = seconds(last) - seconds(first);
    let passed = |range: std::ops::Range<usize>| {
        train[range].iter().filter(|probe| probe.received_ns.is_some()).map(|probe| f64::from(probe.size)).sum::<f64>()
    };
    let rate = passed(first..last) / span;
    // A round trip of a path whose clocks agree would be twice the delay; ours do not agree, so the spread above the least is added
    // to forty milliseconds, which is what the simulated paths have.
    let least = train.iter().filter_map(|probe| probe.received_ns.map(|at| at - probe.sent_ns)).min()?;
    let mut extra: Vec<f64> = train
        .iter()
        .filter_map(|probe| probe.received_ns.map(|at| (at - probe.sent_ns - least) as f64 / 1e9))
        .collect();
    extra.sort_by(f64::total_cmp);
    let round_trip = 0.04 + extra[extra.len() / 2];
    let (mut tokens, mut at) = (0.0, seconds(first));
    let (mut losses, mut passes) = (Vec::new(), Vec::new());
    for (index, probe) in train.iter().enumerate().take(last + 1).skip(first) {
        tokens += (seconds(index) - at) * rate;
        at = seconds(index);
        if probe.received_ns.is_some() {
            tokens -= f64::from(probe.size);
            passes.push(tokens);
        } else {
            losses.push(tokens);
        }
    }
    let out = |values: &[f64], is_out: &dyn Fn(f64) -> bool| {
        values.iter().filter(|value| is_out(**value)).count() as f64 / values.len().max(1) as f64
    };
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    };
    let fits = out(&losses, &|tokens| tokens.abs() > LOSS_SLACK * round_trip * rate) <= LOSSES_OUT
        && out(&passes, &|tokens| tokens < -PASS_SLACK * round_trip * rate) <= PASSES_OUT
        && median(&mut passes) >= median(&mut losses) - f64::from(train[0].size);
    // Losses after a queue has grown are congestion: the round trips before them are among the longest.
    let before: Vec<f64> = lost
        .iter()
        .filter_map(|index| index.checked_sub(1))
        .filter_map(|index| train[index].received_ns.map(|at| (at - train[index].sent_ns - least) as f64 / 1e9))
        .collect();
    let high = extra[extra.len() * 9 / 10];
    let congested = high > 0.01 && before.iter().filter(|wait| **wait >= 0.9 * high).count() * 2 > before.len();
    (fits && !congested).then_some(rate * 8.0)
}
