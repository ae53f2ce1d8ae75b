//! Batches that wait for the server: first in, first out, on disk, bounded. A crash loses at most what was not appended
//! yet; a batch is deleted only after the server has it, so at worst it is uploaded twice, which the server notices by
//! its number. Knows bytes, not their meaning.
//!
//! No fsync: a killed process loses nothing that was appended, and a power failure costs the last seconds, which does not
//! justify a flush of a small host's disk every second.

mod disk;
mod frame;

use std::collections::VecDeque;
use std::path::Path;

use crate::error::WorkerError;
use disk::Disk;

/// Bytes kept in memory when the disk takes none, and by a worker that has no disk.
pub(crate) const MEMORY_BYTES: u64 = 2 << 20;

/// Names a batch for [`Spool::done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(Place);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Disk(disk::Position),
    Memory(u64),
}

#[derive(Debug)]
pub(crate) struct Spool {
    disk: Option<Disk>,
    /// What the disk did not take, newer than all that is on it.
    memory: VecDeque<Vec<u8>>,
    memory_bytes: u64,
    memory_bound: u64,
    /// Number of the first batch in `memory`.
    memory_first: u64,
    dropped: u64,
    disk_failed: bool,
}

impl Spool {
    /// Opens or creates the directory; batches of earlier runs are still there. `bound`: bytes on disk at most.
    pub(crate) fn open(directory: &Path, bound: u64) -> Result<Spool, WorkerError> {
        let disk =
            Disk::open(directory, bound).map_err(|error| WorkerError::data("opening the spool", directory, error))?;
        Ok(Spool { disk: Some(disk), ..Spool::in_memory(MEMORY_BYTES) })
    }

    /// Without a disk.
    pub(crate) fn in_memory(bound: u64) -> Spool {
        Spool {
            disk: None,
            memory: VecDeque::new(),
            memory_bytes: 0,
            memory_bound: bound,
            memory_first: 0,
            dropped: 0,
            disk_failed: false,
        }
    }

    /// Keeps a batch. Where neither disk nor memory has room, the oldest ones go.
    pub(crate) fn append(&mut self, batch: Vec<u8>) {
        if batch.is_empty() || batch.len() > frame::MAX_RECORD {
            self.dropped += 1;
            return;
        }
        self.memory_bytes += batch.len() as u64;
        self.memory.push_back(batch);
        self.write_out();
        while self.memory_bytes > self.memory_bound {
            if !self.forget_oldest_in_memory() {
                break;
            }
            self.dropped += 1;
        }
    }

    /// Moves to the disk what waits in memory, oldest first.
    fn write_out(&mut self) {
        let Some(disk) = &mut self.disk else { return };
        while let Some(batch) = self.memory.front() {
            match disk.append(batch) {
                Ok(dropped) => self.dropped += dropped,
                Err(error) => {
                    if !self.disk_failed {
                        self.disk_failed = true;
                        tracing::warn!(
                            "cannot write to the spool {}: {error}; going on with {} MB of memory",
                            disk.directory().display(),
                            self.memory_bound >> 20
                        );
                    }
                    return;
                }
            }
            self.memory_bytes -= batch.len() as u64;
            self.memory.pop_front();
            self.memory_first += 1;
        }
        // Room for one batch is not room for all: said only when nothing waits any more.
        if std::mem::take(&mut self.disk_failed) {
            tracing::info!("the spool can be written again");
        }
    }

    fn forget_oldest_in_memory(&mut self) -> bool {
        let Some(batch) = self.memory.pop_front() else { return false };
        self.memory_bytes -= batch.len() as u64;
        self.memory_first += 1;
        true
    }

    /// The oldest batch, and its ticket. It stays until [`Spool::done`].
    pub(crate) fn oldest(&mut self) -> Option<(Ticket, Vec<u8>)> {
        if let Some(disk) = &mut self.disk {
            let (found, torn) = disk.oldest();
            self.dropped += torn;
            if let Some((position, batch)) = found {
                return Some((Ticket(Place::Disk(position)), batch));
            }
        }
        self.memory.front().map(|batch| (Ticket(Place::Memory(self.memory_first)), batch.clone()))
    }

    /// The server has it (or never will): forget it. Nothing happens if it was dropped meanwhile.
    pub(crate) fn done(&mut self, ticket: Ticket) {
        match (ticket.0, &mut self.disk) {
            (Place::Disk(position), Some(disk)) => disk.done(position),
            (Place::Memory(number), _) if number == self.memory_first => {
                self.forget_oldest_in_memory();
            }
            _ => {}
        }
    }

    /// Batches lost since the last call: too many, too big or damaged.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Bytes of all batches that are not done, the oldest among them.
    pub(crate) fn bytes(&self) -> u64 {
        self.memory_bytes + self.disk.as_ref().map_or(0, Disk::bytes)
    }

    pub(crate) fn is_empty(&mut self) -> bool {
        self.oldest().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_memory_the_oldest_go_first_and_are_counted() {
        let mut spool = Spool::in_memory(10);
        for byte in 0..5 {
            spool.append(vec![byte; 4]);
        }
        assert_eq!(spool.take_dropped(), 3);
        assert_eq!(spool.bytes(), 8);
        let (ticket, batch) = spool.oldest().unwrap();
        assert_eq!(batch, [3; 4]);
        // While it was being uploaded it was dropped: the next one must not go in its place.
        spool.append(vec![5; 4]);
        spool.done(ticket);
        assert_eq!(spool.oldest().unwrap().1, [4; 4]);
    }

    #[test]
    fn a_disk_that_takes_nothing_is_replaced_by_memory_and_order_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool");
        let mut spool = Spool::open(&path, 1 << 20).unwrap();
        spool.append(vec![1]);
        let disk = spool.disk.take();
        spool.append(vec![2]);
        spool.disk = disk;
        spool.append(vec![3]);
        for expected in [1, 2, 3] {
            let (ticket, batch) = spool.oldest().unwrap();
            assert_eq!(batch, [expected]);
            spool.done(ticket);
        }
        assert!(spool.is_empty());
        assert_eq!(spool.take_dropped(), 0);
    }
}
