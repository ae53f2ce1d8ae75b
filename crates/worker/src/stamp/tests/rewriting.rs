//! Through the kernel's own rewriting: nft rules in front of the receiving sockets of one namespace.

use model::report::{EcnFinding, Pathology, Remarking, Report};
use model::{Direction, SampleFlags, WorkerName};

use super::lab::{LOOPBACK, inside, this_test};
use super::reflector::{Temper, going, marks, session};
use crate::stamp::{Amount, ClassOfServiceTlv, StampOutcome, report};

const REFLECTOR: [&str; 2] = ["127.0.0.1:10862", "[::1]:10862"];

fn lab(test: &str, rules: &str) -> bool {
    inside(test, &format!("{LOOPBACK}\n{rules}"), "")
}

fn judged(outcome: &StampOutcome) -> Report {
    report(&WorkerName::new("here").unwrap(), "2026-01-02T03:04:05Z".to_owned(), outcome).unwrap()
}

fn remarking(report: &Report, direction: Direction) -> &Remarking {
    &report.paths.iter().find(|path| path.direction == direction).unwrap().remarking[0]
}

#[test]
fn each_directions_rewriting_is_told_from_the_others() {
    // Up: everything bleached, DSCP and ECN. Down: EF becomes 8, and ECT(1) becomes ECT(0).
    let rules = "rules prerouting <<< 'udp dport 10862 ip dscp set cs0
        udp dport 10862 ip6 dscp set cs0
        udp dport 10862 ip ecn set not-ect
        udp dport 10862 ip6 ecn set not-ect
        udp sport 10862 ip dscp ef ip dscp set cs1
        udp sport 10862 ip6 dscp ef ip6 dscp set cs1
        udp sport 10862 ip ecn ect1 ip ecn set ect0
        udp sport 10862 ip6 ecn ect1 ip6 ecn set ect0'";
    if !lab(this_test!("each_directions_rewriting_is_told_from_the_others"), rules) {
        return;
    }
    for listen in REFLECTOR {
        let outcome = session(listen, &Temper::default(), |config| {
            config.classes = marks(&[0, 1, 46, 54], &[0, 1, 2, 3]);
            config.amount = Amount::Count(160);
            config.class_of_service = ClassOfServiceTlv::Draft;
        });
        assert_eq!(outcome.counters.answered, 160);
        for sample in going(&outcome, Direction::Up) {
            assert_eq!(sample.tos_received.map(|tos| tos.byte()), Some(0), "{listen}");
            assert!(!sample.flags.has(SampleFlags::LOCAL_REWRITE));
        }
        for sample in going(&outcome, Direction::Down) {
            let (dscp, ecn) = (sample.tos_sent.dscp().get(), sample.tos_sent.ecn().bits());
            let expected = (if dscp == 46 { 8 } else { dscp }) << 2 | if ecn == 1 { 2 } else { ecn };
            assert_eq!(sample.tos_received.map(|tos| tos.byte()), Some(expected), "{listen}");
        }
        let report = judged(&outcome);
        let (up, down) = (remarking(&report, Direction::Up), remarking(&report, Direction::Down));
        assert_eq!((up.pathology, up.ecn), (Pathology::BleachDscp, EcnFinding::Bleached));
        assert_eq!((down.pathology, down.ecn), (Pathology::Partial, EcnFinding::Ect1ToEct0));
        // The classic caveat: a reflector from before the erratum would report the same ECN.
        assert!(outcome.notes.iter().any(|note| note.contains("erratum 8199")), "{:?}", outcome.notes);
    }
}

#[test]
fn a_rule_on_the_senders_host_is_flagged_as_local() {
    let rules = "rules output <<< 'udp dport 10862 ip dscp ef ip dscp set cs0'";
    if !lab(this_test!("a_rule_on_the_senders_host_is_flagged_as_local"), rules) {
        return;
    }
    let outcome = session(REFLECTOR[0], &Temper::default(), |_| {});
    for sample in going(&outcome, Direction::Up) {
        assert_eq!(sample.flags.has(SampleFlags::LOCAL_REWRITE), sample.tos_sent.byte() == 184);
    }
    assert!(outcome.notes.iter().any(|note| note.contains("a rule on this host rewrites it")), "{:?}", outcome.notes);
}

#[test]
fn packets_dropped_by_a_filter_are_lost_in_its_direction() {
    // Every third of one direction, by the kernel.
    let rules = "rules input <<< 'udp sport 10862 numgen inc mod 3 0 drop'";
    if !lab(this_test!("packets_dropped_by_a_filter_are_lost_in_its_direction"), rules) {
        return;
    }
    let outcome = session(REFLECTOR[0], &Temper { stateful: true, ..Temper::default() }, |config| {
        config.amount = Amount::Count(60);
    });
    let lost = |direction| going(&outcome, direction).iter().filter(|s| s.received_at.is_none()).count();
    assert_eq!((lost(Direction::Up), lost(Direction::Down), lost(Direction::RoundTrip)), (0, 20, 20));
}
