//! Losses, order and the reply's mark, from made-up probes.

use model::{Ecn, Tos, UnixNanos};
use wire::stamp::{ClassOfService, ReversePathEcn, Timestamp};

use crate::stamp::ClassOfServiceTlv::{Draft, Rfc8972};
use crate::stamp::judge::{Lost, ReplyMark, losses};
use crate::stamp::receive::{Probe, Reply};

fn reply(sequence: u32, received_count: Option<u32>) -> Reply {
    Reply {
        sequence,
        t2: UnixNanos(0),
        t3: UnixNanos(1_000_000 + i64::from(sequence) * 1000),
        t4: UnixNanos(0),
        t4_kernel: true,
        order: 0,
        tos: Some(Tos::default()),
        ttl: None,
        sender_ttl: 0,
        class_of_service: None,
        received_count,
        synchronized: false,
    }
}

/// One probe a microsecond.
fn probes(replies: &[Option<Reply>]) -> Vec<Probe> {
    (0..)
        .zip(replies)
        .map(|(n, reply)| Probe {
            tos: Tos::default(),
            timestamp: Timestamp(0),
            sent_user: UnixNanos(n * 1000),
            sent_kernel: None,
            left_with: None,
            payload: 44,
            failed: false,
            duplicated_up: false,
            duplicated_down: false,
            reply: *reply,
        })
        .collect()
}

#[test]
fn all_or_none_of_a_gap_is_known_of_each_some_of_none() {
    let counted = |count| Some(reply(0, Some(count)));
    let fates = |replies: &[Option<Reply>]| losses(&probes(replies), false).into_values().collect::<Vec<_>>();
    assert_eq!(fates(&[counted(1), None, None, counted(2)]), [Lost::Up, Lost::Up]);
    let down = |ns| Lost::Down(UnixNanos(ns));
    assert_eq!(fates(&[counted(1), None, None, counted(4)]), [down(1_001_000), down(1_002_000)]);
    assert_eq!(fates(&[counted(1), None, None, counted(3)]), [Lost::Unknown, Lost::Unknown]);
    // The reflector counted more than was sent: duplicates, or another session's packets.
    assert_eq!(fates(&[counted(1), None, counted(9)]), [Lost::Unknown]);
    // Overtaken.
    assert_eq!(fates(&[counted(5), None, counted(4)]), [Lost::Unknown]);
    assert_eq!(fates(&[counted(1), None, Some(reply(2, None))]), [Lost::Unknown]);
    // Before the first reply, and after the last.
    assert_eq!(fates(&[None, counted(1), None]), [Lost::Up, Lost::Unknown]);
    assert_eq!(fates(&[None, counted(2)]), [down(999_000)]);
}

#[test]
fn a_packet_the_kernel_refused_is_no_loss() {
    let mut sent = probes(&[Some(reply(0, Some(1))), None, None, Some(reply(0, Some(3)))]);
    sent[1].failed = true;
    assert_eq!(losses(&sent, false).into_iter().collect::<Vec<_>>(), [(2, Lost::Down(UnixNanos(1_002_000)))]);
}

#[test]
fn a_stateful_reflectors_sequence_counts_its_replies() {
    let replies = [Some(reply(0, None)), None, Some(reply(1, None)), None, Some(reply(3, None))];
    let fates: Vec<Lost> = losses(&probes(&replies), true).into_values().collect();
    assert!(matches!(fates.as_slice(), [Lost::Up, Lost::Down(_)]), "{fates:?}");
    // A stateless one repeats ours, which looks just like a stateful one that lost nothing on the way there.
    assert!(losses(&probes(&replies), false).into_values().all(|fate| fate == Lost::Unknown));
}

#[test]
fn the_replys_mark_is_what_the_reflector_says() {
    let ef_ect1 = Tos::from_byte(185);
    let mark = |class: ClassOfService, arrived: u8, asked| {
        let answer = Reply { class_of_service: Some(class), tos: Some(Tos::from_byte(arrived)), ..reply(0, None) };
        ReplyMark::of(ef_ect1, &answer, asked).map(|mark| (mark.sent.byte(), mark.ecn_known))
    };
    let class = ClassOfService::request(ef_ect1.dscp());
    assert_eq!(mark(class, 0, Rfc8972), Some((184, true)));
    let with = |reverse_path_ecn| ClassOfService { requested_ecn: Ecn::Ect1, reverse_path_ecn, ..class };
    assert_eq!(mark(with(ReversePathEcn::Done), 0, Draft), Some((185, true)));
    assert_eq!(mark(with(ReversePathEcn::Refused), 0, Draft), Some((184, true)));
    // It says nothing: whatever arrived may be what was sent.
    assert_eq!(mark(with(ReversePathEcn::NotSupported), 1, Draft), Some((185, false)));
    assert_eq!(mark(class, 2, Rfc8972), Some((186, false)));
    // RP: refused, or a value of the future.
    let refused = ClassOfService { reverse_path: 1, received_dscp: wire::Dscp::LE, ..class };
    assert_eq!(mark(refused, 0, Rfc8972), Some((4, true)));
    assert_eq!(mark(ClassOfService { reverse_path: 2, ..class }, 0, Rfc8972), None);
    assert_eq!(ReplyMark::of(ef_ect1, &reply(0, None), Rfc8972), None);
}
