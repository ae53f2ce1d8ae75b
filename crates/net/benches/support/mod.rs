//! CPU time and quantiles.
#![allow(dead_code, unreachable_pub)]

/// User and system time of the calling thread (getrusage), in nanoseconds.
pub fn thread_cpu_ns() -> f64 {
    // SAFETY: zero is a value of rusage, and the kernel writes one.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &mut usage), 0);
        usage
    };
    let ns = |time: libc::timeval| time.tv_sec as f64 * 1e9 + time.tv_usec as f64 * 1e3;
    ns(usage.ru_utime) + ns(usage.ru_stime)
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
