//! The spool's files: `NUMBER.spool`, appended to one after the other, deleted when all their records are done.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::frame;

const EXTENSION: &str = "spool";
/// Files are about this long, or a sixteenth of the bound: the oldest is what is dropped at once.
const SEGMENT: u64 = 4 << 20;

/// Where a record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    number: u64,
    offset: u64,
    length: u64,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    /// Bytes up to which records are known to be whole, or the file's length where it was not read yet.
    length: u64,
    /// Where the oldest record that is not done begins.
    next: u64,
    /// Whole records from `next` on that this process appended; of an earlier run's file 0.
    records: u64,
}

#[derive(Debug)]
pub(crate) struct Disk {
    directory: PathBuf,
    bound: u64,
    /// Oldest first.
    segments: VecDeque<Segment>,
    /// The last segment's file, while it is appended to.
    writer: Option<File>,
    reader: Option<(u64, File)>,
}

impl Disk {
    pub(crate) fn open(directory: &Path, bound: u64) -> io::Result<Disk> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut segments = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let path = entry.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if let (Some(number), true) = (number, path.extension().is_some_and(|found| found == EXTENSION)) {
                segments.push(Segment { number, length: entry.metadata()?.len(), next: 0, records: 0 });
            }
        }
        segments.sort_by_key(|segment| segment.number);
        let mut disk =
            Disk { directory: directory.to_owned(), bound, segments: segments.into(), writer: None, reader: None };
        while disk.total() > disk.bound && disk.segments.len() > 1 {
            disk.remove_oldest();
        }
        Ok(disk)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:012}.{EXTENSION}"))
    }

    fn total(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    fn remove_oldest(&mut self) -> Option<Segment> {
        let segment = self.segments.pop_front()?;
        if self.segments.is_empty() {
            self.writer = None;
        }
        self.reader.take_if(|(number, _)| *number == segment.number);
        let path = self.path(segment.number);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("cannot delete {}: {error}", path.display());
        }
        Some(segment)
    }

    /// Returns how many records had to go for this one.
    pub(crate) fn append(&mut self, record: &[u8]) -> io::Result<u64> {
        let size = (frame::HEADER + record.len()) as u64;
        let segment_bytes = SEGMENT.min(self.bound / 16);
        let room = self.segments.back().is_some_and(|last| last.length < segment_bytes);
        if self.writer.is_none() || !room {
            self.begin_segment()?;
        }
        let (Some(file), Some(segment)) = (&self.writer, self.segments.back_mut()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut bytes = Vec::with_capacity(size as usize);
        bytes.extend_from_slice(&frame::header(record));
        bytes.extend_from_slice(record);
        if let Err(error) = file.write_all_at(&bytes, segment.length) {
            // Half a record must not stand between whole ones; if the cut fails as well the file is left as it is and the
            // next record goes to a new one.
            if file.set_len(segment.length).is_err() {
                self.writer = None;
            }
            return Err(error);
        }
        segment.length += size;
        segment.records += 1;
        let mut dropped = 0;
        while self.total() > self.bound && self.segments.len() > 1 {
            dropped += self.remove_oldest().map_or(0, |segment| segment.records.max(1));
        }
        Ok(dropped)
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let number = self.segments.back().map_or(1, |last| last.number + 1);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path(number))?;
        self.segments.push_back(Segment { number, length: 0, next: 0, records: 0 });
        self.writer = Some(file);
        Ok(())
    }

    /// The oldest record that is not done, and how many damaged ends were met on the way to it.
    pub(crate) fn oldest(&mut self) -> (Option<(Position, Vec<u8>)>, u64) {
        let mut torn = 0;
        while let Some(segment) = self.segments.front() {
            let (number, next, length) = (segment.number, segment.next, segment.length);
            if next < length {
                match self.read(number, next, length) {
                    Ok(Some(record)) => {
                        let length = (frame::HEADER + record.len()) as u64;
                        return (Some((Position { number, offset: next, length }, record)), torn);
                    }
                    Ok(None) => {
                        torn += 1;
                        tracing::warn!("{} ends in a damaged record, which is left out", self.path(number).display());
                    }
                    Err(error) => {
                        torn += 1;
                        tracing::warn!("cannot read {}: {error}; it is left out", self.path(number).display());
                    }
                }
            }
            self.remove_oldest();
        }
        (None, torn)
    }

    fn read(&mut self, number: u64, offset: u64, end: u64) -> io::Result<Option<Vec<u8>>> {
        if self.reader.as_ref().is_none_or(|(open, _)| *open != number) {
            self.reader = Some((number, File::open(self.path(number))?));
        }
        let Some((_, file)) = &self.reader else { return Ok(None) };
        let mut header = [0; frame::HEADER];
        if end - offset < frame::HEADER as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut header, offset)?;
        let Some((length, checksum)) = frame::parse_header(&header) else { return Ok(None) };
        let begin = offset + frame::HEADER as u64;
        if (length as u64) > end - begin {
            return Ok(None);
        }
        let mut record = vec![0; length];
        file.read_exact_at(&mut record, begin)?;
        Ok((frame::crc32(&record) == checksum).then_some(record))
    }

    /// Bytes of the records that are not done, with their headers.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length.saturating_sub(segment.next)).sum()
    }

    pub(crate) fn done(&mut self, position: Position) {
        let Some(segment) = self.segments.front_mut() else { return };
        if segment.number != position.number || segment.next != position.offset {
            return;
        }
        segment.next += position.length;
        segment.records = segment.records.saturating_sub(1);
        if segment.next >= segment.length {
            self.remove_oldest();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enough randomness to vary sizes, the same in every run.
    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state >> 33
    }

    fn drain(disk: &mut Disk) -> (Vec<Vec<u8>>, u64) {
        let (mut all, mut torn) = (Vec::new(), 0);
        loop {
            let (found, lost) = disk.oldest();
            torn += lost;
            let Some((position, record)) = found else { return (all, torn) };
            disk.done(position);
            all.push(record);
        }
    }

    #[test]
    fn wherever_the_file_is_torn_the_whole_records_before_it_survive() {
        let dir = tempfile::tempdir().unwrap();
        let whole = dir.path().join("whole");
        let mut disk = Disk::open(&whole, 1 << 20).unwrap();
        let mut state = 1;
        let records: Vec<Vec<u8>> = (0..12).map(|i| vec![i; 1 + random(&mut state) as usize % 40]).collect();
        for record in &records {
            disk.append(record).unwrap();
        }
        let bytes = fs::read(disk.path(1)).unwrap();
        let mut ends = vec![0];
        for record in &records {
            ends.push(ends.last().unwrap() + frame::HEADER + record.len());
        }
        for cut in 0..=bytes.len() {
            let torn = dir.path().join(format!("torn{cut}"));
            fs::create_dir(&torn).unwrap();
            fs::write(torn.join("000000000001.spool"), &bytes[..cut]).unwrap();
            let mut disk = Disk::open(&torn, 1 << 20).unwrap();
            // A new boot appends to a file of its own, whatever the old one ends with.
            disk.append(b"new").unwrap();
            let (found, lost) = drain(&mut disk);
            let kept = ends.iter().filter(|end| **end <= cut && **end > 0).count();
            assert_eq!(found[..kept], records[..kept], "cut at {cut}");
            assert_eq!(found[kept..], [b"new".to_vec()], "cut at {cut}");
            assert_eq!(lost, u64::from(!ends.contains(&cut)));
            assert_eq!(fs::read_dir(&torn).unwrap().count(), 0, "what is done is deleted");
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(dir.path(), 1 << 20).unwrap();
        for record in [b"first", b"other"] {
            disk.append(record).unwrap();
        }
        let path = disk.path(1);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 4;
        fs::write(&path, bytes).unwrap();
        let (found, torn) = drain(&mut Disk::open(dir.path(), 1 << 20).unwrap());
        assert_eq!((found, torn), (vec![b"first".to_vec()], 1));
    }

    #[test]
    fn the_bound_holds_and_the_newest_survive_in_order() {
        let mut state = 7;
        for round in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            let bound = 4_000 + random(&mut state) % 40_000;
            let mut disk = Disk::open(dir.path(), bound).unwrap();
            let (mut dropped, mut taken) = (0, 0);
            let count = 400u64;
            for i in 0..count {
                let mut record = i.to_le_bytes().to_vec();
                record.resize(8 + random(&mut state) as usize % 300, 0);
                dropped += disk.append(&record).unwrap();
                let on_disk: u64 =
                    fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
                assert!(on_disk <= bound, "round {round}: {on_disk} of {bound}");
                if random(&mut state).is_multiple_of(10)
                    && let (Some((position, _)), _) = disk.oldest()
                {
                    disk.done(position);
                    taken += 1;
                }
            }
            let (rest, torn) = drain(&mut disk);
            assert_eq!((torn, dropped + taken + rest.len() as u64), (0, count));
            let numbers: Vec<u64> =
                rest.iter().map(|record| u64::from_le_bytes(record[..8].try_into().unwrap())).collect();
            assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
            assert_eq!(numbers.last(), Some(&(count - 1)));
        }
    }

    #[test]
    fn a_ticket_of_a_dropped_record_is_void() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(dir.path(), 320).unwrap();
        disk.append(&[1; 100]).unwrap();
        let (Some((first, _)), _) = disk.oldest() else { panic!() };
        for i in 2..8 {
            disk.append(&[i; 100]).unwrap();
        }
        disk.done(first);
        let (rest, _) = drain(&mut disk);
        assert_eq!(rest.first().unwrap()[0], 6);
    }
}
