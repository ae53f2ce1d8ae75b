//! How a task keeps within its bytes a day: it works in cycles, some seconds of probing and then a pause. Pure arithmetic;
//! estimates are on the high side, because the bound is promised.

use model::{DirectionChoice, Duration, Family, Kind, TaskSpec};

/// One stretch of probing.
const WORK_S: f64 = 10.0;
const DAY_S: f64 = 86_400.0;
/// UDP payload of a clock probe.
pub const CLOCK_PAYLOAD: u16 = wire::control::CONTROL_MIN_LEN as u16;
/// Clock exchanges a second while something is measured, and in pauses.
pub const CLOCK_PPS: f64 = 4.0;
pub const CLOCK_PAUSE_PPS: f64 = 0.2;
/// What one probe adds to the uploads, both halves, as JSON in TLS.
const REPORTED_BYTES: f64 = 110.0;
/// A batch beside its halves: HTTP heads, TLS records, acknowledgements, both ways.
const BATCH_BYTES: f64 = 1_500.0;
/// Seconds between batches in a pause.
pub const PAUSE_UPLOAD_S: u64 = 30;
/// Uploads go on every second this long into a pause, until all probes are settled.
pub const AFTERGLOW_S: u64 = 5;

/// Probing for `work_ns` at the beginning of every `period_ns`. Equal: without pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cycle {
    pub work_ns: u64,
    pub period_ns: u64,
}

impl Cycle {
    pub const CONTINUOUS: Cycle = Cycle { work_ns: 1_000_000_000, period_ns: 1_000_000_000 };

    pub fn is_continuous(self) -> bool {
        self.work_ns >= self.period_ns
    }

    /// When the work that is due after so much working time is due, both from the first cycle's begin.
    pub fn wall_ns(self, worked_ns: u64) -> u64 {
        if self.is_continuous() {
            return worked_ns;
        }
        let cycles = worked_ns / self.work_ns;
        cycles.saturating_mul(self.period_ns).saturating_add(worked_ns % self.work_ns)
    }

    /// Working time up to a moment; the inverse of [`Cycle::wall_ns`], standing still in pauses.
    pub fn worked_ns(self, wall_ns: u64) -> u64 {
        if self.is_continuous() {
            return wall_ns;
        }
        (wall_ns / self.period_ns) * self.work_ns + (wall_ns % self.period_ns).min(self.work_ns)
    }

    pub fn is_working(self, wall_ns: u64) -> bool {
        self.is_continuous() || wall_ns % self.period_ns < self.work_ns
    }

    /// When the next cycle begins.
    pub fn next_work_ns(self, wall_ns: u64) -> u64 {
        if self.is_working(wall_ns) { wall_ns } else { (wall_ns / self.period_ns + 1).saturating_mul(self.period_ns) }
    }
}

/// Network and transport headers of a datagram.
pub fn datagram_overhead(family: Family) -> u16 {
    match family {
        Family::Ipv4 => 28,
        Family::Ipv6 => 48,
    }
}

/// Layer-3 bytes of one probe and what it causes, both directions.
fn bytes_of_probe(kind: Kind, family: Family, direction: DirectionChoice, size: u16) -> f64 {
    let overhead = f64::from(datagram_overhead(family));
    let answers = if direction.down() { 1.0 } else { 0.0 };
    // Ten or so segments of TCP with timestamps; IPv6 headers are 20 bytes longer.
    let segments = 11.0 * (overhead + 24.0);
    match kind {
        Kind::Rtp | Kind::Udp => (f64::from(size) + overhead) * (1.0 + answers),
        Kind::Dns => 90.0 + overhead + answers * (200.0 + overhead),
        Kind::Http => segments + 250.0 + answers * 250.0,
        Kind::Tls => segments + 600.0 + answers * 200.0,
        Kind::Icmp => (64.0 + overhead) * 2.0,
        Kind::Clock => (f64::from(CLOCK_PAYLOAD) + overhead) * 2.0,
        Kind::Stamp => 0.0,
    }
}

/// The rate of one kind: connections are limited further.
pub fn rate_of(kind: Kind, spec: &TaskSpec) -> f64 {
    if kind.is_tcp() { spec.rate_pps.min(50.0) } else { spec.rate_pps }
}

/// The cycle that keeps a task's bytes a day below its bound on these families.
pub fn plan(spec: &TaskSpec, families: &[Family]) -> Cycle {
    let Some(bound) = spec.bytes_per_day else { return Cycle::CONTINUOUS };
    let mut work = BATCH_BYTES;
    let mut pause = BATCH_BYTES / PAUSE_UPLOAD_S as f64;
    for family in families {
        for kind in &spec.kinds {
            let each = bytes_of_probe(*kind, *family, spec.direction, spec.size) + REPORTED_BYTES;
            work += each * rate_of(*kind, spec);
        }
        let exchange = bytes_of_probe(Kind::Clock, *family, DirectionChoice::Both, CLOCK_PAYLOAD) + REPORTED_BYTES;
        work += exchange * CLOCK_PPS;
        pause += exchange * CLOCK_PAUSE_PPS;
    }
    let budget = bound as f64 / DAY_S;
    // Each stretch of work drags some seconds of busy uploads behind it.
    let dragged = BATCH_BYTES * AFTERGLOW_S as f64 / WORK_S;
    let share = (budget - pause) / (work + dragged - pause);
    if share >= 1.0 {
        return Cycle::CONTINUOUS;
    }
    // A bound that not even the pauses keep: ten seconds a day, which is as little as measuring can be.
    let period = (WORK_S / share.max(WORK_S / DAY_S)).min(DAY_S);
    Cycle { work_ns: (WORK_S * 1e9) as u64, period_ns: (period * 1e9) as u64 }
}

/// What a worker without a task says it does.
pub fn describe_default(spec: &TaskSpec, cycle: Cycle) -> String {
    let words = |items: Vec<String>| items.join(", ");
    let kinds = words(spec.kinds.iter().map(Kind::to_string).collect());
    let classes = words(spec.dscp.iter().map(wire::Dscp::to_string).collect());
    let mut text = format!("no task: measuring {kinds} in classes {classes} at {} packets/s", spec.rate_pps);
    if let Some(bound) = spec.bytes_per_day {
        text += &format!(", duty-cycled to {} MB a day", bound / 1_000_000);
    }
    if !cycle.is_continuous() {
        text += &format!(" ({} s of every {} s)", cycle.work_ns / 1_000_000_000, cycle.period_ns / 1_000_000_000);
    }
    if let Some(shaping) = &spec.shaping {
        text += &format!(", and comparing classes for {} MB a day", 24 * shaping.bytes_per_hour / 1_000_000);
    }
    if let Duration::Seconds(seconds) = spec.duration {
        text += &format!(", for {seconds} s");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_default_probes_ten_seconds_at_a_time_and_keeps_its_share_of_200_mb() {
        let spec = TaskSpec::unattended();
        for families in [&[Family::Ipv4][..], &Family::ALL] {
            let cycle = plan(&spec, families);
            assert_eq!(cycle.work_ns, 10 * SECOND);
            // What the probes alone put on the wire in a day, counted independently of the planner: datagrams of 220 or
            // 240 bytes both ways, and not less than a bare HTTP exchange of 8 segments.
            let (mut least, mut v6) = (0.0, 0.0);
            for _ in families {
                least += 20.0 * (2.0 * (2.0 * (220.0 + v6)) + 2.0 * (100.0 + v6) + 8.0 * (52.0 + v6) + 200.0);
                v6 = 20.0;
            }
            let share = cycle.work_ns as f64 / cycle.period_ns as f64;
            let day = least * share * 86_400.0;
            assert!((30e6..104e6).contains(&day), "{day} bytes a day on {} families", families.len());
        }
        assert!(plan(&spec, &Family::ALL).period_ns > plan(&spec, &[Family::Ipv4]).period_ns);
    }

    #[test]
    fn without_a_bound_or_far_below_it_there_is_no_pause() {
        let unbounded = TaskSpec { bytes_per_day: None, ..TaskSpec::default() };
        assert!(plan(&unbounded, &[Family::Ipv4]).is_continuous());
        let slow = TaskSpec { rate_pps: 0.1, bytes_per_day: Some(1_000_000_000), ..TaskSpec::default() };
        assert!(plan(&slow, &[Family::Ipv4]).is_continuous());
    }

    #[test]
    fn an_impossible_bound_still_measures_once_a_day() {
        let spec = TaskSpec { bytes_per_day: Some(1), ..TaskSpec::default() };
        assert_eq!(plan(&spec, &Family::ALL), Cycle { work_ns: 10 * SECOND, period_ns: 86_400 * SECOND });
    }

    #[test]
    fn working_time_stands_still_in_pauses() {
        let cycle = Cycle { work_ns: 10 * SECOND, period_ns: 60 * SECOND };
        for (worked, wall) in [(0, 0), (9, 9), (10, 60), (25, 125)] {
            assert_eq!(cycle.wall_ns(worked * SECOND), wall * SECOND);
            assert_eq!(cycle.worked_ns(wall * SECOND), worked * SECOND);
        }
        assert_eq!(cycle.worked_ns(59 * SECOND), 10 * SECOND);
        assert!(cycle.is_working(9 * SECOND) && !cycle.is_working(10 * SECOND));
        assert_eq!(cycle.next_work_ns(10 * SECOND), 60 * SECOND);
        assert_eq!(cycle.next_work_ns(3 * SECOND), 3 * SECOND);
    }

    #[test]
    fn the_default_says_what_it_does() {
        let spec = TaskSpec::unattended();
        let line = describe_default(&spec, Cycle { work_ns: 10 * SECOND, period_ns: 200 * SECOND });
        assert_eq!(
            line,
            "no task: measuring rtp, udp, http, dns in classes CS0, AF41, EF, 54 at 20 packets/s, \
             duty-cycled to 104 MB a day (10 s of every 200 s), and comparing classes for 96 MB a day"
        );
    }
}
