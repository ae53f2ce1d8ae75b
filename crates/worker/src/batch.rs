//! From what the sessions' logs hold to numbered uploads that are never too long.

use model::control::{ReceivedColumns, SentColumns, WatchCounts};
use model::{BootId, Record, SessionUpload, Upload};

/// Halves in one upload: as JSON well below the server's limit of 4 MiB.
const MAX_HALVES: usize = 16_000;
/// Records in one upload: each below 2 kB of JSON.
const MOST_RECORDS: usize = 500;

/// Numbers the uploads from `*next` on.
pub(crate) fn uploads(boot: BootId, next: &mut u64, sessions: Vec<SessionUpload>) -> Vec<Upload> {
    let mut uploads = Vec::new();
    let mut current = Vec::new();
    let mut room = MAX_HALVES;
    let mut finish = |sessions: Vec<SessionUpload>| {
        let upload = Upload::of(boot, *next, sessions);
        *next += 1;
        uploads.push(upload);
    };
    for mut session in sessions {
        while session.sent.len() + session.received.len() > room {
            let part = split_off(&mut session, room);
            current.extend(part);
            finish(std::mem::take(&mut current));
            room = MAX_HALVES;
        }
        room -= session.sent.len() + session.received.len();
        current.push(session);
    }
    if !current.is_empty() {
        finish(current);
    }
    uploads
}

/// Adds records and counts to the last upload, or to further ones.
pub(crate) fn add_records(
    boot: BootId,
    next: &mut u64,
    uploads: &mut Vec<Upload>,
    mut records: Vec<Record>,
    watched: WatchCounts,
) {
    if records.is_empty() && watched.is_empty() {
        return;
    }
    // What is collected while much is measured is full of halves already: records go in one of their own.
    if !uploads.last().is_some_and(|upload| upload.sessions.iter().all(is_small)) {
        let upload = Upload { watched, ..Upload::of(boot, *next, Vec::new()) };
        *next += 1;
        uploads.push(upload);
    } else if let Some(last) = uploads.last_mut() {
        last.watched = watched;
    }
    while let Some(last) = uploads.last_mut() {
        last.records = records.drain(..records.len().min(MOST_RECORDS)).collect();
        if records.is_empty() {
            break;
        }
        let upload = Upload::of(boot, *next, Vec::new());
        *next += 1;
        uploads.push(upload);
    }
}

fn is_small(session: &SessionUpload) -> bool {
    session.sent.len() + session.received.len() < MAX_HALVES / 4
}

/// The first halves of a session's upload. What may only be said when all halves were told (settled, closed) stays behind.
fn split_off(session: &mut SessionUpload, halves: usize) -> Option<SessionUpload> {
    if halves == 0 {
        return None;
    }
    let sent = session.sent.len().min(halves);
    let received = session.received.len().min(halves - sent);
    Some(SessionUpload {
        session: session.session,
        sent: SentColumns {
            sequence: session.sent.sequence.drain(..sent).collect(),
            sent_at_ns: session.sent.sent_at_ns.drain(..sent).collect(),
            tos: session.sent.tos.drain(..sent).collect(),
            size: session.sent.size.drain(..sent).collect(),
            flags: session.sent.flags.drain(..sent).collect(),
        },
        received: ReceivedColumns {
            sequence: session.received.sequence.drain(..received).collect(),
            received_at_ns: session.received.received_at_ns.drain(..received).collect(),
            tos: session.received.tos.drain(..received).collect(),
            ttl: session.received.ttl.drain(..received).collect(),
            flags: session.received.flags.drain(..received).collect(),
        },
        settled_through: None,
        closed: false,
        send_failures: 0,
        foreign: 0,
        notes: Vec::new(),
        local_queue: Vec::new(),
        transfers: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{
        Instrument, Measurement, Metric, ReceivedHalf, RecordId, SampleFlags, SentHalf, SessionId, Tos, UnixNanos,
        WorkerName,
    };

    fn session(id: u32, sent: u32, received: u32) -> SessionUpload {
        let mut upload = SessionUpload {
            session: SessionId(id),
            sent: SentColumns::default(),
            received: ReceivedColumns::default(),
            settled_through: Some(sent),
            closed: true,
            send_failures: 1,
            foreign: 2,
            notes: vec!["note".to_owned()],
            local_queue: Vec::new(),
            transfers: Vec::new(),
        };
        let (at, flags) = (UnixNanos(1_900_000_000_000_000_000), SampleFlags(511));
        for sequence in 0..sent {
            upload.sent.push(&SentHalf { sequence, sent_at: at, tos: Tos::from_byte(255), size: 1500, flags });
        }
        for sequence in 0..received {
            let tos = Some(Tos::from_byte(255));
            upload.received.push(&ReceivedHalf { sequence, received_at: at, tos, ttl: Some(255), flags });
        }
        upload
    }

    #[test]
    fn little_goes_in_one_and_nothing_in_none() {
        let mut next = 1;
        assert_eq!(uploads(BootId(1), &mut next, vec![session(1, 10, 10), session(2, 0, 0)]).len(), 1);
        assert!(uploads(BootId(1), &mut next, Vec::new()).is_empty());
        assert_eq!(next, 2);
    }

    #[test]
    fn much_is_cut_in_order_and_settled_only_with_the_last_halves() {
        let mut next = 5;
        let all = uploads(BootId(1), &mut next, vec![session(1, 10_000, 10_000), session(2, 40_000, 3)]);
        let numbers: Vec<u64> = all.iter().map(|upload| upload.batch).collect();
        assert_eq!(numbers, (5..next).collect::<Vec<_>>());
        for id in [1, 2] {
            let parts: Vec<&SessionUpload> =
                all.iter().flat_map(|upload| &upload.sessions).filter(|part| part.session == SessionId(id)).collect();
            let sent: Vec<u32> = parts.iter().flat_map(|part| part.sent.sequence.clone()).collect();
            let whole = session(id, if id == 1 { 10_000 } else { 40_000 }, 0);
            assert_eq!(sent, whole.sent.sequence);
            let (last, before) = parts.split_last().unwrap();
            assert!(last.closed && last.settled_through.is_some() && last.foreign == 2);
            assert!(before.iter().all(|part| !part.closed && part.settled_through.is_none() && part.foreign == 0));
            assert!(parts.iter().all(|part| part.sent.halves().is_ok() && part.received.halves().is_ok()));
        }
        for upload in &all {
            assert!(serde_json::to_vec(upload).unwrap().len() < 2 << 20, "the server takes 4 MiB");
        }
    }

    #[test]
    fn records_ride_with_the_last_batch_or_in_ones_of_their_own_and_are_there_once() {
        let at = UnixNanos(1_900_000_000_000_000_000);
        let record = |counter| Record {
            id: RecordId { worker: WorkerName::new("ams1").unwrap(), boot: BootId(1), counter },
            instrument: Instrument { library: "x 1".into(), language: "rust".into(), version: "0".into() },
            measured: Measurement::new(Metric::MediaPing, at),
        };
        let watched = WatchCounts { malformed: 3, ..WatchCounts::default() };
        for (halves, records, expected) in [(10, 1, 1), (10, 1_201, 3), (9_000, 1, 2), (0, 0, 1)] {
            let mut next = 1;
            let mut all = uploads(BootId(1), &mut next, vec![session(1, halves, 0)]);
            add_records(BootId(1), &mut next, &mut all, (1..=records).map(record).collect(), watched);
            let counters: Vec<u64> = all.iter().flat_map(|u| &u.records).map(|record| record.id.counter).collect();
            assert_eq!(counters, (1..=records).collect::<Vec<_>>());
            assert_eq!((all.len(), next), (expected, expected as u64 + 1));
            assert_eq!(all.iter().map(|upload| upload.batch).collect::<Vec<_>>(), (1..next).collect::<Vec<_>>());
            assert_eq!(all.iter().map(|upload| upload.watched.malformed).sum::<u64>(), 3);
        }
        let (mut next, mut all) = (1, Vec::new());
        add_records(BootId(1), &mut next, &mut all, Vec::new(), WatchCounts::default());
        assert!(all.is_empty());
    }
}
