//! Workers, tokens, tasks, sessions and pending halves: what is kept, and what is refused.

use std::sync::Mutex;

use model::control::{SessionInfo, SynFingerprint};
use model::shaping::Transfer;
use model::{
    BootId, Direction, DirectionChoice, Family, Kind, ReceivedHalf, SampleFlags, SentHalf, SessionId, Task, TaskId,
    TaskSpec, Tos, UnixNanos,
};
use store::{
    ClockRow, Commit, CredentialRow, Halves, PendingHalves, Reader, Seen, SessionKeys, SessionNote, SessionPlan,
    SessionQuery, Store, StoreOptions, TimeQuery, WorkerRow,
};

use crate::generate::name;

const NOW: UnixNanos = UnixNanos(1_790_000_000_000_000_000);

fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(dir.path(), StoreOptions::default()).unwrap()
}

#[test]
fn a_single_use_token_lets_one_of_many_in() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    store.add_join_token([1; 32], Some(1), None).unwrap();
    let store = Mutex::new(store);
    let admitted: Vec<_> = std::thread::scope(|scope| {
        let join = |i: u8| {
            let store = &store;
            scope.spawn(move || {
                store.lock().unwrap().redeem([1; 32], &name("ams1"), [100 + i; 32], false, "0.1.0", NOW).unwrap()
            })
        };
        let threads: Vec<_> = (0..16).map(join).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(admitted, [name("ams1")]);
    let store = store.into_inner().unwrap();
    let good = (0..16).filter(|i| store.credential([100 + i; 32]).unwrap().is_some()).count();
    assert_eq!((good, store.workers().unwrap().len()), (1, 1));
}

#[test]
fn tokens_run_out_and_expire_and_names_get_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    store.add_join_token([1; 32], Some(2), None).unwrap();
    store.add_join_token([2; 32], None, Some(UnixNanos(NOW.0 + 10))).unwrap();
    let mut credential = 0;
    let mut redeem = |store: &mut Store, token: u8, wanted: &str, now: i64| {
        credential += 1;
        store.redeem([token; 32], &name(wanted), [credential; 32], false, "0.1.0", UnixNanos(now)).unwrap()
    };
    assert_eq!(redeem(&mut store, 9, "ams1", NOW.0), None, "unknown");
    assert_eq!(redeem(&mut store, 1, "ams1", NOW.0), Some(name("ams1")));
    assert_eq!(redeem(&mut store, 1, "ams1", NOW.0), Some(name("ams1-2")));
    assert_eq!(redeem(&mut store, 1, "ams1", NOW.0), None, "used up");
    assert_eq!(redeem(&mut store, 2, "ams1", NOW.0 + 9), Some(name("ams1-3")));
    assert_eq!(redeem(&mut store, 2, "ams1", NOW.0 + 10), None, "expired");
    let long = "x".repeat(63);
    assert_eq!(redeem(&mut store, 2, &long, NOW.0), Some(name(&long)));
    assert_eq!(redeem(&mut store, 2, &long, NOW.0), Some(name(&format!("{}-2", "x".repeat(61)))));
    assert_eq!(store.retain(UnixNanos(NOW.0 + 10)).unwrap().join_tokens, 2);
}

#[test]
fn revoking_shuts_a_worker_out_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    store.add_join_token([1; 32], None, None).unwrap();
    store.redeem([1; 32], &name("ams1"), [7; 32], true, "0.1.0", NOW).unwrap();
    let row = |revoked| Some(CredentialRow { worker: name("ams1"), ephemeral: true, revoked });
    assert_eq!(store.credential([7; 32]).unwrap(), row(false));
    assert_eq!(store.credential([8; 32]).unwrap(), None);
    assert!(store.revoke(&name("ams1")).unwrap());
    assert!(!store.revoke(&name("ams1")).unwrap());
    assert!(!store.revoke(&name("nobody")).unwrap());
    assert_eq!(store.credential([7; 32]).unwrap(), row(true));
}

#[test]
fn tasks_keep_their_order_and_every_change_raises_the_revision() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    let task = |id: &str, worker: Option<&str>| Task {
        id: TaskId(id.to_owned()),
        worker: worker.map(name),
        spec: TaskSpec { kinds: vec![Kind::Dns], ..TaskSpec::default() },
    };
    let first = store.task_revision().unwrap();
    store.add_task(&task("b", None)).unwrap();
    store.add_task(&task("a", Some("ams1"))).unwrap();
    store.add_task(&task("b", Some("nyc1"))).unwrap();
    assert_eq!(store.tasks().unwrap(), [task("b", Some("nyc1")), task("a", Some("ams1"))]);
    assert!(!store.remove_task(&TaskId("c".to_owned())).unwrap());
    assert_eq!(store.task_revision().unwrap(), first + 3);
    assert!(store.remove_task(&TaskId("b".to_owned())).unwrap());
    drop(store);
    let store = open(&dir);
    assert_eq!(store.tasks().unwrap(), [task("a", Some("ams1"))]);
    assert_eq!(store.task_revision().unwrap(), first + 4);
    assert_eq!(Reader::open(dir.path()).unwrap().tasks().unwrap(), store.tasks().unwrap());
}

#[test]
fn a_secret_is_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    assert_eq!(store.secret("mask", || vec![1, 2]).unwrap(), [1, 2]);
    drop(store);
    assert_eq!(open(&dir).secret("mask", || unreachable!()).unwrap(), [1, 2]);
}

fn info(id: u32, worker: &str) -> SessionInfo {
    SessionInfo {
        session: SessionId(id),
        worker: name(worker),
        boot: BootId(u64::MAX - 1),
        kind: Kind::Udp,
        family: Family::Ipv6,
        direction: DirectionChoice::Both,
        started_at: UnixNanos(NOW.0 + i64::from(id % 1000)),
        ended_at: None,
        from: None,
        to: Some("[2001:db8::1]:8620".to_owned()),
        notes: vec!["tcp 443 could not be opened".to_owned()],
        experiment: None,
        local_queue: Vec::new(),
        transfers: Vec::new(),
    }
}

#[test]
fn open_sessions_survive_a_restart_and_lose_their_keys_when_they_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    let keys = SessionKeys { up: [1; 32], down: [2; 32] };
    let plan = SessionPlan {
        classes: vec![Tos::from_byte(0), Tos::from_byte(0xb8)],
        rate_pps: 12.5,
        size: 192,
        task: Some(TaskId("t".to_owned())),
        seed: u64::MAX,
        syn: Some(SynFingerprint { options: vec![2, 4, 8, 1, 3], window_scale: Some(7) }),
    };
    assert!(store.open_session(&info(5, "ams1"), &keys, &plan).unwrap());
    assert!(store.open_session(&info(u32::MAX, "ams1"), &keys, &plan).unwrap());
    assert!(!store.open_session(&info(5, "nyc1"), &keys, &plan).unwrap(), "the id is taken");
    let note = |from: Option<&str>, notes: &[&str]| SessionNote {
        session: SessionId(5),
        from: from.map(str::to_owned),
        to: None,
        notes: notes.iter().map(|note| (*note).to_owned()).collect(),
        local_queue: Vec::new(),
        transfers: Vec::new(),
    };
    store.note_session(&note(Some("[2001:db8::2]:40000"), &["a", "tcp 443 could not be opened"])).unwrap();
    store
        .commit(&Commit {
            notes: vec![note(None, &["a", "b"])],
            ended: vec![(SessionId(u32::MAX), UnixNanos(NOW.0 + 5_000))],
            ..Commit::default()
        })
        .unwrap();
    drop(store);

    let mut store = open(&dir);
    let sessions = store.open_sessions().unwrap();
    assert_eq!(sessions.len(), 1);
    assert_eq!((&sessions[0].keys, &sessions[0].plan), (&keys, &plan));
    let expected = SessionInfo {
        from: Some("[2001:db8::2]:40000".to_owned()),
        notes: ["tcp 443 could not be opened", "a", "b"].map(str::to_owned).to_vec(),
        ..info(5, "ams1")
    };
    assert_eq!(sessions[0].info, expected);
    assert!(!format!("{:?}", sessions[0]).contains("1, 1"), "keys are not printed");

    store.end_session(SessionId(5), UnixNanos(NOW.0 + 9_000)).unwrap();
    store.end_session(SessionId(5), UnixNanos(NOW.0 + 99_000)).unwrap();
    assert!(store.open_sessions().unwrap().is_empty());
    assert_eq!(store.session(SessionId(5)).unwrap().unwrap().ended_at, Some(UnixNanos(NOW.0 + 9_000)));
    let bytes = std::fs::read(dir.path().join("netlat.db-wal")).unwrap();
    assert!(bytes.len() < 16 << 20);

    let reader = Reader::open(dir.path()).unwrap();
    let ids = |query: &SessionQuery| -> Vec<u32> {
        reader.sessions(query).unwrap().iter().map(|session| session.session.0).collect()
    };
    assert_eq!(ids(&SessionQuery::default()), [5, u32::MAX]);
    assert_eq!(ids(&SessionQuery { since: Some(UnixNanos(NOW.0 + 6_000)), ..Default::default() }), [5]);
    assert_eq!(ids(&SessionQuery { until: Some(UnixNanos(NOW.0 + 6)), ..Default::default() }), [5]);
    assert_eq!(ids(&SessionQuery { worker: Some(name("nyc1")), ..Default::default() }), [0u32; 0]);
    assert_eq!(ids(&SessionQuery { open_only: true, ..Default::default() }), [0u32; 0]);
}

#[test]
fn a_transfer_that_is_told_twice_is_kept_once_and_all_are_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    let keys = SessionKeys { up: [1; 32], down: [2; 32] };
    store.open_session(&info(5, "ams1"), &keys, &SessionPlan::default()).unwrap();
    let transfer = |sequence, bytes| Transfer { sequence, bytes, retransmits: Some(sequence), ..Transfer::default() };
    let told = |transfers: &[Transfer]| SessionNote {
        session: SessionId(5),
        from: None,
        to: None,
        notes: Vec::new(),
        local_queue: Vec::new(),
        transfers: transfers.to_vec(),
    };
    store.note_session(&told(&[transfer(3, 30), transfer(1, 10)])).unwrap();
    let commit = Commit { notes: vec![told(&[transfer(3, 31), transfer(2, u64::MAX >> 1)])], ..Commit::default() };
    store.commit(&commit).unwrap();
    drop(store);
    let kept = Reader::open(dir.path()).unwrap().sessions(&SessionQuery::default()).unwrap().remove(0).transfers;
    assert_eq!(kept, [transfer(1, 10), transfer(2, u64::MAX >> 1), transfer(3, 30)]);
}

#[test]
fn notes_of_a_talkative_worker_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    let keys = SessionKeys { up: [1; 32], down: [2; 32] };
    store.open_session(&info(5, "ams1"), &keys, &SessionPlan::default()).unwrap();
    let notes = (0..1000).map(|i| format!("{i}{}", "ä".repeat(2000))).collect();
    store
        .note_session(&SessionNote {
            session: SessionId(5),
            from: None,
            to: None,
            notes,
            local_queue: Vec::new(),
            transfers: Vec::new(),
        })
        .unwrap();
    let kept = store.session(SessionId(5)).unwrap().unwrap().notes;
    assert_eq!(kept.len(), 64);
    assert!(kept.iter().skip(1).all(|note| note.chars().count() == 500));
}

#[test]
fn pending_halves_go_with_the_watermark_of_their_stream() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    let sent = |session: u32, direction, max_sequence: u32| {
        let half = |sequence| SentHalf {
            sequence,
            sent_at: UnixNanos(NOW.0 - i64::from(sequence)),
            tos: Tos::from_byte(0xb9),
            size: 1500,
            flags: SampleFlags(sequence as u16),
        };
        let halves = Halves::Sent(vec![half(max_sequence - 3), half(max_sequence), half(max_sequence - 5)]);
        PendingHalves { session: SessionId(session), direction, halves }
    };
    let received = |session: u32, direction, max_sequence: u32| {
        let half = |sequence, seen| ReceivedHalf {
            sequence,
            received_at: UnixNanos(i64::MAX - i64::from(sequence)),
            tos: Some(Tos::from_byte(7)).filter(|_| seen),
            ttl: Some(255).filter(|_| seen),
            flags: SampleFlags(u16::MAX),
        };
        let halves = Halves::Received(vec![half(max_sequence, true), half(max_sequence, false)]);
        PendingHalves { session: SessionId(session), direction, halves }
    };
    let keys = SessionKeys { up: [1; 32], down: [2; 32] };
    for id in [1, 2] {
        store.open_session(&info(id, "ams1"), &keys, &SessionPlan::default()).unwrap();
    }
    let all = [
        sent(1, Direction::Up, 10),
        received(1, Direction::Up, 20),
        sent(1, Direction::Down, 10),
        sent(2, Direction::Up, 10),
    ];
    store.commit(&Commit { pending_add: all.to_vec(), ..Commit::default() }).unwrap();
    drop(store);
    let mut store = open(&dir);
    assert_eq!(store.pending().unwrap(), all);
    let resolve = |watermark| Commit {
        pending_add: vec![sent(1, Direction::Up, 15)],
        resolved: vec![(SessionId(1), Direction::Up, watermark)],
        ..Commit::default()
    };
    store.commit(&resolve(15)).unwrap();
    assert_eq!(store.pending().unwrap(), all[1..].to_vec());
    store.commit(&Commit { resolved: vec![(SessionId(1), Direction::Up, 3)], ..Commit::default() }).unwrap();
    assert_eq!(store.resolved().unwrap(), [(SessionId(1), Direction::Up, 15)], "a watermark only rises");
    // Of an ended session it is kept as long as halves wait.
    store.commit(&Commit { ended: vec![(SessionId(1), NOW)], ..Commit::default() }).unwrap();
    assert_eq!(store.resolved().unwrap().len(), 1);
    let rest = vec![(SessionId(1), Direction::Up, 20), (SessionId(1), Direction::Down, 20)];
    store.commit(&Commit { resolved: rest, ..Commit::default() }).unwrap();
    assert_eq!(store.resolved().unwrap(), []);
    assert_eq!(store.pending().unwrap(), all[3..].to_vec());
}

#[test]
fn batches_counters_clocks_and_sightings_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    let clock = |at: i64, skew_ppm| ClockRow {
        worker: name("ams1"),
        at: UnixNanos(at),
        offset_ns: -5,
        uncertainty_ns: 7,
        skew_ppm,
        steps: 2,
    };
    let ams1 = || name("ams1");
    store
        .put_worker(&WorkerRow {
            name: ams1(),
            version: "0.1.0".to_owned(),
            ephemeral: false,
            joined_at: NOW,
            seen_at: None,
            waiting_bytes: None,
        })
        .unwrap();
    for (batch, delta) in [(3, 5), (2, 6)] {
        store
            .commit(&Commit {
                batches: vec![(ams1(), BootId(u64::MAX), batch), (ams1(), BootId(0), 1)],
                counters: vec![("forged".to_owned(), delta), ("replayed".to_owned(), 1)],
                clocks: vec![clock(10, 1.5), clock(20, f64::NAN)],
                seen: vec![Seen { worker: ams1(), at: UnixNanos(NOW.0 + 1), waiting_bytes: Some(70_000) }],
                ..Commit::default()
            })
            .unwrap();
    }
    drop(store);
    let store = open(&dir);
    assert_eq!(store.last_batch(&ams1(), BootId(u64::MAX)).unwrap(), Some(3), "only rises");
    assert_eq!(store.last_batch(&ams1(), BootId(0)).unwrap(), Some(1));
    assert_eq!(store.last_batch(&name("nyc1"), BootId(0)).unwrap(), None);
    let reader = Reader::open(dir.path()).unwrap();
    let counters: Vec<_> = reader.counters().unwrap().into_iter().collect();
    assert_eq!(counters, [("forged".to_owned(), 11), ("replayed".to_owned(), 2)]);
    assert_eq!(reader.clocks(&TimeQuery::default()).unwrap(), [clock(10, 1.5), clock(20, 0.0)]);
    let late = TimeQuery { since: Some(UnixNanos(11)), ..TimeQuery::default() };
    assert_eq!(reader.clocks(&late).unwrap(), [clock(20, 0.0)]);
    let workers = reader.workers().unwrap();
    assert_eq!((workers.len(), workers[0].seen_at), (1, Some(UnixNanos(NOW.0 + 1))));
    assert_eq!(workers[0].waiting_bytes, Some(70_000));
    assert_eq!(store.worker(&ams1()).unwrap().as_ref(), Some(&workers[0]));
}
