//! Which bots fit into this host's memory at once: on a small one they take turns.

/// What the kernel would give out without swapping, in MiB (proc(5): MemAvailable).
pub(crate) fn available_mib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    parse(&text)
}

fn parse(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib / 1024)
}

/// Left to the host itself: a fifth, and 100 MiB at least.
pub(crate) fn budget_mib(available_mib: u64) -> u64 {
    available_mib.saturating_sub((available_mib / 5).max(100))
}

/// Bots that run together, in their order; the groups take turns. One that alone is more than all there is runs alone: that it does not
/// fit is for the kernel to say.
pub(crate) fn turns(needs_mib: &[u64], budget_mib: u64) -> Vec<Vec<usize>> {
    let mut groups: Vec<(u64, Vec<usize>)> = Vec::new();
    for (index, need) in needs_mib.iter().enumerate() {
        match groups.last_mut() {
            Some((used, group)) if *used + need <= budget_mib => {
                *used += need;
                group.push(index);
            }
            _ => groups.push((*need, vec![index])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_runs_at_once_and_what_does_not_in_turns() {
        assert_eq!(turns(&[60, 60, 110], 1000), [vec![0, 1, 2]]);
        assert_eq!(turns(&[60, 60, 110], 130), [vec![0, 1], vec![2]]);
        assert_eq!(turns(&[60, 300, 60], 100), [vec![0], vec![1], vec![2]]);
        assert!(turns(&[], 100).is_empty());
    }

    #[test]
    fn the_kernels_figure_is_read() {
        assert_eq!(parse("MemTotal: 1024 kB\nMemAvailable:   524288 kB\n"), Some(512));
        assert_eq!(parse("MemAvailable: lots\n"), None);
        assert!(available_mib().is_some_and(|mib| mib > 0));
        assert_eq!((budget_mib(1000), budget_mib(200), budget_mib(50)), (800, 100, 0));
    }
}
