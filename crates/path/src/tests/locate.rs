//! What made-up traces mean.

use std::net::IpAddr;

use model::report::Where;
use model::{Dscp, Ecn, Family, Tos};

use crate::{Hop, Mark, Misquote, Trace, common_location, locate, locate_all, vanishes};

fn dscp(value: u8) -> Tos {
    Tos::new(Dscp::new(value).unwrap(), Ecn::NotEct)
}

fn between(after_hop: u8, by_hop: u8) -> Where {
    Where { after_hop, by_hop }
}

/// For each hop what it quotes, three times each, for the classes in order; empty: silent.
fn trace(classes: &[Tos], hops: &[&[Tos]], reached: bool) -> Trace {
    let from = "192.0.2.1:4000".parse().unwrap();
    let hops: Vec<Hop> = (1u8..)
        .zip(hops)
        .map(|(number, quoted)| {
            let address = IpAddr::from([192, 0, 2, 100 + number]);
            let mark = |(sent, quoted): (&Tos, &Tos)| Mark { sent: *sent, quoted: *quoted, address, count: 3 };
            Hop {
                hop: number,
                addresses: if quoted.is_empty() { vec![] } else { vec![address] },
                rtt_ms: None,
                marks: classes.iter().zip(*quoted).map(mark).collect(),
                sent: 6,
                answered: quoted.len() as u32 * 3,
                silent: quoted.is_empty(),
                destination: false,
                refuses: false,
                translated: false,
            }
        })
        .collect();
    Trace {
        target: "198.51.100.1".parse().unwrap(),
        family: Family::Ipv4,
        port: 33434,
        from,
        left_with: classes
            .iter()
            .map(|sent| Mark { sent: *sent, quoted: *sent, address: from.ip(), count: 9 })
            .collect(),
        destination_hop: reached.then_some(hops.len() as u8),
        hops,
        reached,
        sent: 100,
        answered: 90,
        foreign: 0,
        complete: true,
        notes: Vec::new(),
    }
}

const BE: u8 = 0;
const EF: u8 = 46;
const AF41: u8 = 34;

#[test]
fn a_change_lies_after_the_last_old_and_by_the_first_new_quote() {
    let classes = [dscp(BE), dscp(EF)];
    let (old, new): (&[Tos], &[Tos]) = (&[dscp(BE), dscp(EF)], &[dscp(BE), dscp(BE)]);
    let changes = locate(&trace(&classes, &[old, old, new, new], true), None);
    let [change] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!((change.sent, change.from_mark, change.to_mark), (dscp(EF), dscp(EF), dscp(BE)));
    assert_eq!((change.location, change.at_destination, change.count), (between(2, 3), false, 3));
    assert_eq!((change.unseen.as_slice(), &change.note), ([].as_slice(), &None));
    assert_eq!(locate(&trace(&classes, &[old, old, old], true), None), []);
}

#[test]
fn silent_hops_widen_the_interval_and_are_named() {
    let (old, new): (&[Tos], &[Tos]) = (&[dscp(EF)], &[dscp(BE)]);
    let changes = locate(&trace(&[dscp(EF)], &[old, &[], &[], new], true), None);
    assert_eq!((changes[0].location, changes[0].unseen.as_slice()), (between(1, 4), [2, 3].as_slice()));
    assert_eq!(changes[0].note.as_deref(), Some("hop 2, 3 does not answer"));
    assert!(changes[0].at_destination);
    // Nothing seen before: anywhere from this host on.
    let changes = locate(&trace(&[dscp(EF)], &[&[], new], true), None);
    assert_eq!(changes[0].location, between(0, 2));
}

#[test]
fn every_change_along_the_path_is_found() {
    let quotes: [&[Tos]; 4] = [&[dscp(EF)], &[dscp(AF41)], &[dscp(AF41)], &[dscp(BE)]];
    let changes = locate(&trace(&[dscp(EF)], &quotes, true), None);
    let found: Vec<(Tos, Tos, Where)> = changes.iter().map(|c| (c.from_mark, c.to_mark, c.location)).collect();
    assert_eq!(found, [(dscp(EF), dscp(AF41), between(1, 2)), (dscp(AF41), dscp(BE), between(3, 4))]);
    assert_eq!(common_location(&changes), Some(between(1, 4)));
    assert_eq!(common_location([]), None);
}

#[test]
fn ecn_is_a_mark_as_well_but_some_congestion_is_no_rule() {
    let ect0 = Tos::new(Dscp::EF, Ecn::Ect0);
    let bleached = locate(&trace(&[ect0], &[&[ect0], &[dscp(EF)]], true), None);
    assert_eq!((bleached[0].to_mark, bleached[0].location), (dscp(EF), between(1, 2)));
    let mut congested = trace(&[ect0], &[&[ect0], &[ect0], &[ect0]], true);
    let ce = Mark { quoted: Tos::new(Dscp::EF, Ecn::Ce), count: 1, ..congested.hops[1].marks[0] };
    congested.hops[1].marks[0].count = 2;
    congested.hops[1].marks.push(ce);
    assert_eq!(locate(&congested, None), []);
}

#[test]
fn a_hop_of_two_minds_is_evidence_of_nothing() {
    let (old, new): (&[Tos], &[Tos]) = (&[dscp(EF)], &[dscp(BE)]);
    let mut divided = trace(&[dscp(EF)], &[old, old, new, new], true);
    // Two routers at hop 2, one before and one behind the change.
    let other = Mark { quoted: dscp(BE), address: IpAddr::from([192, 0, 2, 99]), ..divided.hops[1].marks[0] };
    divided.hops[1].marks.push(other);
    let changes = locate(&divided, None);
    assert_eq!((changes[0].location, changes[0].unseen.as_slice()), (between(1, 3), [2].as_slice()));
    assert_eq!(changes[0].note.as_deref(), Some("hop 2 quotes different marks"));
}

#[test]
fn a_router_that_quotes_wrongly_is_not_believed() {
    let classes = [dscp(EF), dscp(AF41)];
    let (true_quote, zeros): (&[Tos], &[Tos]) = (&classes, &[dscp(BE), dscp(BE)]);
    // Two such routers in a row, and no change at all.
    let located = locate_all(&trace(&classes, &[true_quote, zeros, zeros, true_quote], true), None);
    assert_eq!(located.changes, []);
    let proven = |hop| Misquote { hop, proven: true };
    assert_eq!(located.misquotes, [proven(2), proven(3)]);
    // With one class it could have been restored: said, not proven.
    let located = locate_all(&trace(&[dscp(EF)], &[&[dscp(EF)], &[dscp(BE)], &[dscp(EF)]], true), None);
    assert_eq!((located.changes, located.misquotes), (vec![], vec![Misquote { hop: 2, proven: false }]));
    // A real change behind it keeps its place, widened over the hop that says nothing.
    let af11: &[Tos] = &[dscp(10), dscp(10)];
    let located = locate_all(&trace(&classes, &[true_quote, zeros, true_quote, af11], true), None);
    assert!(located.changes.iter().all(|c| c.location == between(3, 4)) && located.changes.len() == 2);
    // The wrong quote of the last hop is refuted by what really arrived.
    let located = locate_all(&trace(&[dscp(EF)], &[&[dscp(EF)], &[dscp(BE)]], false), Some(&|sent| Some(sent)));
    assert_eq!((located.changes.len(), located.misquotes.len()), (0, 1));
}

#[test]
fn a_class_restored_after_two_hops_is_two_changes() {
    // One class cannot prove the quotes wrong, and two hops agree.
    let quotes: [&[Tos]; 4] = [&[dscp(EF)], &[dscp(AF41)], &[dscp(AF41)], &[dscp(EF)]];
    let changes = locate(&trace(&[dscp(EF)], &quotes, true), None);
    assert_eq!(changes.iter().map(|c| c.location).collect::<Vec<_>>(), [between(1, 2), between(3, 4)]);
}

#[test]
fn what_arrived_completes_a_path_whose_end_is_silent() {
    let old: &[Tos] = &[dscp(BE), dscp(EF)];
    let trace = trace(&[dscp(BE), dscp(EF)], &[old, old], false);
    assert_eq!(locate(&trace, None), []);
    let changes = locate(&trace, Some(&|sent| Some(if sent == dscp(EF) { dscp(BE) } else { sent })));
    let [change] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!((change.location, change.at_destination), (between(2, 3), true));
    assert!(change.note.as_deref().unwrap().contains("hop 3 or farther"));
    assert_eq!(locate(&trace, Some(&|_| None)), []);
}

#[test]
fn a_destination_that_treats_probes_and_measurement_differently_is_said_to() {
    let old: &[Tos] = &[dscp(EF)];
    let changes = locate(&trace(&[dscp(EF)], &[old, old], true), Some(&|_| Some(dscp(BE))));
    assert_eq!(changes[0].location, between(2, 2));
    assert!(changes[0].note.as_deref().unwrap().contains("probes are treated differently"));
}

#[test]
fn this_host_is_a_suspect_too() {
    let new: &[Tos] = &[dscp(BE)];
    let mut local = trace(&[dscp(EF)], &[new, new], true);
    local.left_with[0].quoted = dscp(BE);
    let changes = locate(&local, None);
    assert_eq!((changes.len(), changes[0].location, changes[0].count), (1, between(0, 0), 9));
    // Where the kernel does not return frames, it is one of two places.
    local.left_with.clear();
    assert_eq!(locate(&local, None)[0].location, between(0, 1));
}

#[test]
fn a_class_ends_between_the_last_hop_that_answers_for_it_and_the_next_that_answers_for_best_effort() {
    let classes = [dscp(BE), dscp(EF)];
    let (both, best_effort, silent): (&[Tos], &[Tos], &[Tos]) = (&[dscp(BE), dscp(EF)], &[dscp(BE)], &[]);
    let of = |hops: &[&[Tos]]| vanishes(&trace(&classes, hops, false), dscp(EF));
    assert_eq!(of(&[both, both, best_effort, best_effort]), Some(between(2, 3)));
    assert_eq!(of(&[both, silent, best_effort]), Some(between(1, 3)), "a hop that answers nobody says nothing");
    assert_eq!(of(&[best_effort, best_effort]), Some(between(0, 1)), "at the first hop or before");
    // All answer, and it does not arrive: it ends at the destination's own hop.
    assert_eq!(of(&[both, both]), Some(between(2, 3)));
    assert_eq!(of(&[silent, silent]), None);
}
