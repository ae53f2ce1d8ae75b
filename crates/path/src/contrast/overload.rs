//! What a search takes: how hard the class is loaded, how many answers that needs, and whether budget and time allow it. Pure.

use measure::shaping::hop::{Effect, Symptom};

use super::plan::{Overload, Sizes, most_pairs, window_bytes, windows_for};
use super::{Contrast, Suffers};

/// The load as a multiple of the limit; the first that the budget allows is taken.
const FACTORS: [f64; 2] = [4.0, 2.5];
/// What drops is counted on by this much of what the rates say: limit and sender are not that steady.
const COUNTED_ON: f64 = 0.75;
/// Load behind which a bucket is surely empty, as a multiple of what empties it; and as long again at least.
const EMPTIES: f64 = 1.5;
const LEAST_LEAD_S: f64 = 0.05;
/// A shaper's queue after so much more load delays by more than this.
const QUEUE_S: f64 = 0.1;
const QUEUED_NS: f64 = 20e6;
/// Pairs in which the class is hit that refute "alike" at an alpha of 0.001 (13 coins), with some that are not answered.
const PAIRS: f64 = 17.0;
/// From so many packets a second on they are large, as those of the trains that measured such a limit.
const LARGE_FROM_PPS: f64 = 1_500.0;
const LARGE: u16 = 1_100;
/// What is lost or late by its class alone is so at every size.
const SMALL: u16 = 24;
/// A host sends no more packets a second reliably.
const MOST_PPS: f64 = 6_000.0;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Prepared {
    pub effect: Effect,
    pub overload: Option<Overload>,
    pub sizes: Sizes,
    /// UDP payload bytes of the shortest probe: none is smaller than the load's packets, or a bucket of bytes would let it through.
    pub shortest: u16,
}

/// `hops`: how many are asked. The error says in words what is too little.
pub(crate) fn prepare(contrast: &Contrast, hops: usize, bytes: u64, limit_ns: u64) -> Result<Prepared, String> {
    let headers = if contrast.target.is_ipv4() { 28 } else { 48 };
    let mut shortest = contrast.size.clamp(SMALL, LARGE);
    if matches!(contrast.sought.suffers, Suffers::Lost { .. } | Suffers::Late { .. }) {
        shortest = SMALL;
    } else if let Suffers::Policed { rate_bps, .. } | Suffers::Shaped { rate_bps, .. } = contrast.sought.suffers
        && rate_bps / 8.0 / f64::from(shortest) > LARGE_FROM_PPS
    {
        shortest = LARGE;
    }
    // Each probe is up to 255 bytes longer, and its answer quotes it whole.
    let sizes =
        Sizes { load: u64::from(shortest) + headers, probe: 2 * (u64::from(shortest) + 255 + headers) + headers };
    let made = |effect: Effect, overload: Option<Overload>| Prepared { effect, overload, sizes, shortest };
    let needed = |pairs: f64, overload: Option<Overload>| windows_for(pairs) * window_bytes(overload, sizes, hops);
    let too_much = |needed: u64| {
        let mb = needed as f64 / 1e6;
        format!("looking for it takes about {mb:.1} MB, more than is left of the part of --budget set aside for that")
    };
    let (rate_bps, burst_bytes) = match contrast.sought.suffers {
        Suffers::Lost { share } => {
            let (pairs, most) = (PAIRS / share, most_pairs(limit_ns));
            if pairs > f64::from(most) {
                let points = 100.0 * share;
                return Err(format!(
                    "a loss of {points:.2} points takes about {pairs:.0} answers of each hop, more than there is time for"
                ));
            }
            let needed = needed(pairs, None);
            let effect = Effect { symptom: Symptom::Silence, least_share: COUNTED_ON * share };
            return if needed > bytes { Err(too_much(needed)) } else { Ok(made(effect, None)) };
        }
        Suffers::Late { by_ns } => {
            let symptom = Symptom::Lateness { beyond_ns: 0.6 * by_ns, or_silence: false };
            let needed = needed(PAIRS, None);
            let effect = Effect { symptom, least_share: 0.5 };
            return if needed > bytes { Err(too_much(needed)) } else { Ok(made(effect, None)) };
        }
        Suffers::Policed { rate_bps, burst_bytes, .. } | Suffers::Shaped { rate_bps, burst_bytes } => {
            (rate_bps, burst_bytes)
        }
    };
    let mut least = u64::MAX;
    for factor in FACTORS {
        let hit = 1.0 - 1.0 / factor;
        let rate = rate_bps / 8.0;
        let empties_s = burst_bytes / (rate * (factor - 1.0));
        let (symptom, least_share, more_s, pairs) = match contrast.sought.suffers {
            Suffers::Shaped { .. } => {
                (Symptom::Lateness { beyond_ns: QUEUED_NS, or_silence: true }, 0.5, QUEUE_S, PAIRS)
            }
            Suffers::Policed { excess: Some(_), .. } => (Symptom::Remark, COUNTED_ON * hit, 0.0, PAIRS / hit),
            _ => (Symptom::Silence, COUNTED_ON * hit, 0.0, PAIRS / hit),
        };
        let lead_s = EMPTIES * empties_s + LEAST_LEAD_S + more_s;
        let packets_per_second = factor * rate / sizes.load as f64;
        if packets_per_second > MOST_PPS {
            return Err(format!("loading it takes {packets_per_second:.0} packets a second, too many to be steady"));
        }
        let overload = Overload { packets_per_second, lead_ns: (lead_s * 1e9) as u64 };
        let needed = needed(pairs, Some(overload));
        if needed <= bytes {
            return Ok(made(Effect { symptom, least_share }, Some(overload)));
        }
        least = least.min(needed);
    }
    Err(too_much(least))
}
