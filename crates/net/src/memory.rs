//! The C allocator's habits, which decide how much memory a program of several threads keeps. Not an allocator.

use std::ffi::c_int;

/// Lets threads share few heaps. glibc gives every thread one of its own, up to eight for each core, and each keeps what it
/// once needed. Call it before threads start; does nothing with another C library.
pub fn share_heaps(heaps: u8) {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) only sets a number; any number is allowed.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, c_int::from(heaps));
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = c_int::from(heaps);
}

/// Gives what is free back to the system. Costs some microseconds for each free page: after something large, not often.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_freed_goes_back() {
        let resident = || -> usize {
            let text = std::fs::read_to_string("/proc/self/statm").expect("statm");
            text.split(' ').nth(1).expect("resident").parse().expect("pages")
        };
        share_heaps(2);
        // Small pieces, so that the allocator does not map each by itself; the last one keeps the heap's end in use.
        let mut pieces: Vec<Vec<u8>> = (0..20_000).map(|_| vec![1; 1024]).collect();
        let last = pieces.pop();
        let full = resident();
        drop(pieces);
        give_back();
        let freed = full.saturating_sub(resident());
        assert!(freed > 2_000, "{freed} pages of about 5000 came back");
        drop(last);
    }
}
