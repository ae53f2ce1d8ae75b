//! CPU time and quantiles.
#![allow(dead_code, unreachable_pub)]

/// User and system time of the calling thread, in nanoseconds. Not by getrusage(2), which tells the same sum but only to
/// the last timer tick.
pub fn thread_cpu_ns() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one live timespec.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

pub fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

/// Nearest rank.
pub fn quantile(values: &mut [f64], q: f64) -> f64 {
    assert!(!values.is_empty());
    values.sort_by(f64::total_cmp);
    values[((values.len() as f64 * q).ceil() as usize).clamp(1, values.len()) - 1]
}

/// Under `cargo test` benches run too, with no `--bench`: then only a short run.
pub fn full_run() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}
