//! Names of RFC 9435 on full and sparse sets of code points, with loss and odd packets; and the ECN findings.

mod simulated;

use measure::{Judgement, MarkCounts, RemarkingConfig, judge};
use model::report::{EcnFinding, Pathology};
use model::{Dscp, Ecn, Kind, Tos};
use proptest::prelude::*;
use simulated::Random;

fn tos(dscp: u8, ecn: Ecn) -> Tos {
    Tos::new(Dscp::new(dscp).unwrap(), ecn)
}

/// Twenty packets of each DSCP through `network`, `None` being a loss.
fn through(sent: &[u8], mut network: impl FnMut(u8) -> Option<u8>) -> MarkCounts {
    let mut counts = MarkCounts::new();
    for _ in 0..20 {
        for dscp in sent {
            match network(*dscp) {
                Some(got) => counts.received(tos(*dscp, Ecn::NotEct), Some(tos(got, Ecn::NotEct))),
                None => counts.lost(tos(*dscp, Ecn::NotEct)),
            }
        }
    }
    counts
}

fn verdict(counts: &MarkCounts) -> Judgement {
    judge(Kind::Udp, counts, &RemarkingConfig::default())
}

fn reason(judgement: &Judgement) -> &str {
    judgement.reason.as_deref().unwrap_or_default()
}

type Network = (Pathology, fn(u8) -> u8);

/// RFC 9435, section 4, written out independently: on bits as text where the code under test uses masks.
const NETWORKS: [Network; 10] = [
    (Pathology::None, |x| x),
    (Pathology::BleachDscp, |_| 0),
    (Pathology::BleachTosPrecedence, |x| x % 8),
    (Pathology::BleachSomeTos, |x| if x >= 48 { x } else { x % 8 }),
    (Pathology::RemarkTos, |x| 8 + x % 8),
    (Pathology::RemarkTos, |x| 56 + x % 8),
    (Pathology::BleachLow, |x| x / 8 * 8),
    (Pathology::BleachSomeLow, |x| if x >= 48 { x } else { x / 8 * 8 }),
    (Pathology::RemarkDscp, |_| 10),
    (Pathology::RemarkDscp, |_| 46),
];

fn sets() -> [(&'static str, Vec<u8>); 4] {
    [
        ("all 64", (0..64).collect()),
        ("0, 1, 46, 54", vec![0, 1, 46, 54]),
        ("the default classes", vec![0, 34, 46, 54]),
        // No registered code point but CS6 and CS7 has both top bits set; 54 stands in.
        ("those with a name, and 54", Dscp::all().filter(|d| d.name().is_some()).map(Dscp::get).chain([54]).collect()),
    ]
}

#[test]
fn every_pathology_is_named_from_every_useful_set() {
    for (set, sent) in sets() {
        for (index, (pathology, network)) in NETWORKS.into_iter().enumerate() {
            let judgement = verdict(&through(&sent, |x| Some(network(x))));
            assert_eq!(judgement.pathology, pathology, "{set}, network {index}: {judgement:?}");
            assert_eq!(judgement.map.iter().map(|row| row.count).sum::<u64>(), 20 * sent.len() as u64);
        }
    }
}

/// The upper half to AF41, the lower half to AF11: constants by group, unless one of them explains three quarters of what
/// was sent.
#[test]
fn few_constants_are_groups_unless_one_explains_nearly_all() {
    for (set, sent) in sets() {
        let judgement = verdict(&through(&sent, |x| Some(if x >= 32 { 34 } else { 10 })));
        if set == "the default classes" {
            assert_eq!(judgement.pathology, Pathology::Partial);
            assert!(reason(&judgement).contains("remark-dscp (to AF41 (34)) except CS0 (0) -> AF11 (10)"));
        } else {
            assert_eq!(judgement.pathology, Pathology::RemarkDscp, "{set}: {judgement:?}");
            assert!(reason(&judgement).contains("constants by group"), "{set}: {judgement:?}");
        }
    }
}

#[test]
fn nor_do_loss_and_odd_packets_change_a_name() {
    for (set, sent) in sets() {
        for (index, (pathology, network)) in NETWORKS.into_iter().enumerate() {
            for seed in 0..20 {
                let mut random = Random::new(seed * 100 + index as u64);
                let mut counts = through(&sent, |x| (!random.chance(0.1)).then(|| network(x)));
                // One packet took another way.
                let odd = sent[seed as usize % sent.len()];
                counts.received(tos(odd, Ecn::NotEct), Some(tos(odd ^ 0b10_1010, Ecn::NotEct)));
                let judgement = verdict(&counts);
                assert_eq!(judgement.pathology, pathology, "{set}, network {index}, seed {seed}: {judgement:?}");
            }
        }
    }
}

#[test]
fn what_fits_as_well_is_said() {
    // 8 & 7 is 0: bleaching the DSCP and bleaching the precedence look the same on class selectors.
    let judgement = verdict(&through(&[0, 8, 16], |_| Some(0)));
    assert_eq!(judgement.pathology, Pathology::BleachDscp);
    assert!(reason(&judgement).contains("bleach-tos-precedence, bleach-some-tos would look the same"), "{judgement:?}");
    // Only EF sent: three names for 46 -> 40.
    let judgement = verdict(&through(&[46], |x| Some(x & 0x38)));
    assert_eq!(judgement.pathology, Pathology::BleachLow);
    assert!(reason(&judgement).contains("bleach-some-low, remark-dscp (to CS5 (40))"), "{judgement:?}");
    // LE shows no precedence bleaching.
    let judgement = verdict(&through(&[0, 1], Some));
    assert_eq!(judgement.pathology, Pathology::None);
    assert!(reason(&judgement).contains("would not show bleach-some-tos, bleach-tos-precedence"), "{judgement:?}");
    // The default classes leave nothing open.
    let judgement = verdict(&through(&[0, 34, 46, 54], Some));
    assert_eq!(reason(&judgement), "ECN: only Not-ECT was sent");
}

#[test]
fn exceptions_make_it_partial_and_are_listed() {
    let all: Vec<u8> = (0..64).collect();
    let judgement = verdict(&through(&all, |x| Some(if x == 46 { 0 } else { x })));
    assert_eq!(judgement.pathology, Pathology::Partial);
    assert!(reason(&judgement).contains("EF (46) -> CS0 (0); 63 others unchanged"), "{judgement:?}");
    let judgement = verdict(&through(&all, |x| Some(if x == 48 || x == 56 { x } else { 0 })));
    assert_eq!(judgement.pathology, Pathology::Partial);
    assert!(reason(&judgement).contains("bleach-dscp except CS6 (48) unchanged, CS7 (56) unchanged"), "{judgement:?}");
    let judgement = verdict(&through(&[0, 34, 46, 54], |x| Some(if x == 46 { 0 } else { x })));
    assert_eq!(judgement.pathology, Pathology::Partial);
    let judgement = verdict(&through(&[0, 34, 46, 54], |x| Some(if x == 46 { 10 } else { x })));
    assert_eq!(judgement.pathology, Pathology::Partial);
    assert!(reason(&judgement).contains("EF (46) -> AF11 (10); 3 others unchanged"), "{judgement:?}");
    // One code point besides 0 is all there is to see.
    assert_eq!(verdict(&through(&[0, 46], |_| Some(0))).pathology, Pathology::BleachDscp);
    let judgement = verdict(&through(&[0, 46], |x| Some(if x == 46 { 34 } else { x })));
    assert_eq!(judgement.pathology, Pathology::RemarkDscp);
}

#[test]
fn two_values_for_one_are_unstable_and_one_odd_packet_is_not() {
    let mut count = 0;
    let judgement = verdict(&through(&[0, 34, 46, 54], |x| {
        count += 1;
        Some(if count % 3 == 0 { 0 } else { x })
    }));
    assert_eq!(judgement.pathology, Pathology::Unstable);
    assert!(reason(&judgement).contains("EF (46) -> CS0 (0) x"), "{judgement:?}");
    let mut counts = through(&[0, 34, 46, 54], Some);
    counts.received(tos(46, Ecn::NotEct), Some(tos(0, Ecn::NotEct)));
    assert_eq!(verdict(&counts).pathology, Pathology::None);
    counts.received(tos(46, Ecn::NotEct), Some(tos(0, Ecn::NotEct)));
    assert_eq!(verdict(&counts).pathology, Pathology::Unstable);
}

#[test]
fn without_evidence_there_is_no_name() {
    assert_eq!(verdict(&MarkCounts::new()).pathology, Pathology::Inconclusive);
    let judgement = verdict(&through(&[0], |_| Some(0)));
    assert_eq!(judgement.pathology, Pathology::Inconclusive);
    assert!(reason(&judgement).contains("only DSCP 0"), "{judgement:?}");
    assert_eq!(verdict(&through(&[0], |_| Some(8))).pathology, Pathology::RemarkDscp);
    let judgement = verdict(&through(&[0, 34, 46], |x| (x != 46).then_some(x)));
    assert_eq!(judgement.pathology, Pathology::None);
    assert!(reason(&judgement).contains("lost altogether: EF (46) (0 of 20 arrived)"), "{judgement:?}");
    let mut few = MarkCounts::new();
    for _ in 0..4 {
        few.received(tos(46, Ecn::NotEct), Some(tos(0, Ecn::NotEct)));
    }
    assert_eq!(verdict(&few).pathology, Pathology::Inconclusive);
}

/// Twenty packets of each ECN code point, with EF bleached at the same time.
fn ecn_through(sent: &[Ecn], mut network: impl FnMut(Ecn) -> Option<Ecn>) -> Judgement {
    let mut counts = MarkCounts::new();
    for _ in 0..20 {
        for ecn in sent {
            match network(*ecn) {
                Some(got) => counts.received(tos(46, *ecn), Some(tos(0, got))),
                None => counts.lost(tos(46, *ecn)),
            }
        }
    }
    let judgement = verdict(&counts);
    if judgement.map.iter().map(|row| row.count).sum::<u64>() >= 5 {
        assert_eq!(judgement.pathology, Pathology::BleachDscp, "{judgement:?}");
    }
    judgement
}

#[test]
fn every_ecn_finding_is_named() {
    use Ecn::{Ce, Ect0, Ect1, NotEct};
    type Network = fn(Ecn) -> Option<Ecn>;
    let networks: [(EcnFinding, Network); 8] = [
        (EcnFinding::None, Some),
        (EcnFinding::Bleached, |_| Some(NotEct)),
        (EcnFinding::Bleached, |ecn| Some(if ecn == Ect1 { NotEct } else { ecn })),
        (EcnFinding::Ect1ToEct0, |ecn| Some(if ecn == Ect1 { Ect0 } else { ecn })),
        (EcnFinding::CeForced, |ecn| Some(if ecn == NotEct { NotEct } else { Ce })),
        (EcnFinding::CeForced, |_| Some(Ce)),
        (EcnFinding::CeStripped, |ecn| Some(if ecn == Ce { Ect0 } else { ecn })),
        (EcnFinding::EctDropped, |ecn| (ecn == NotEct).then_some(ecn)),
    ];
    for (index, (finding, network)) in networks.into_iter().enumerate() {
        let judgement = ecn_through(&Ecn::ALL, network);
        assert_eq!(judgement.ecn, finding, "network {index}: {judgement:?}");
    }
}

#[test]
fn congestion_is_not_remarking() {
    for share in [0.05, 0.3, 0.6] {
        let mut random = Random::new(5);
        let judgement =
            ecn_through(&Ecn::ALL, |ecn| Some(if ecn != Ecn::NotEct && random.chance(share) { Ecn::Ce } else { ecn }));
        assert_eq!(judgement.ecn, EcnFinding::None, "{share}: {judgement:?}");
    }
}

#[test]
fn ecn_needs_its_own_evidence() {
    let judgement = ecn_through(&[Ecn::NotEct], Some);
    assert_eq!(judgement.ecn, EcnFinding::Inconclusive);
    // Everything is lost alike: no sign of dropping by ECN.
    assert_eq!(ecn_through(&Ecn::ALL, |_| None).ecn, EcnFinding::Inconclusive);
    assert_eq!(ecn_through(&[Ecn::Ect0], |_| None).ecn, EcnFinding::Inconclusive);
    let judgement = ecn_through(&[Ecn::NotEct, Ecn::Ect0], Some);
    assert_eq!(judgement.ecn, EcnFinding::None);
    assert!(reason(&judgement).contains("no evidence for ECT(1), CE"), "{judgement:?}");
    let counts = through(&[46], Some);
    for kind in [Kind::Http, Kind::Tls, Kind::Icmp] {
        assert_eq!(judge(kind, &counts, &RemarkingConfig::default()).ecn, EcnFinding::Unsupported);
    }
}

proptest! {
    /// Any counts get a name without a panic, `none` only where nothing changed, and merged counts are counts.
    #[test]
    fn any_counts_are_judged(rows in prop::collection::vec((any::<u8>(), prop::option::of(any::<u8>()), 0u8..30), 0..40)) {
        let mut counts = MarkCounts::new();
        let mut halves = [MarkCounts::new(), MarkCounts::new()];
        for (index, (sent, got, repeats)) in rows.iter().enumerate() {
            for _ in 0..*repeats {
                for counts in [&mut counts, &mut halves[index % 2]] {
                    match got {
                        Some(got) => counts.received(Tos::from_byte(*sent), Some(Tos::from_byte(*got))),
                        None => counts.lost(Tos::from_byte(*sent)),
                    }
                }
            }
        }
        let judgement = verdict(&counts);
        let [mut first, second] = halves;
        first.merge(&second);
        prop_assert_eq!(&verdict(&first), &judgement);
        if judgement.pathology == Pathology::None {
            let changed = judgement.map.iter().filter(|row| row.dscp_sent != row.dscp_received && row.count >= 5);
            for row in changed {
                let same = judgement.map.iter().filter(|other| other.dscp_sent == row.dscp_sent).map(|other| other.count);
                prop_assert!((row.count as f64) < 0.05 * same.sum::<u64>() as f64);
            }
        }
        if judgement.pathology.is_finding() {
            prop_assert!(judgement.map.iter().any(|row| row.dscp_sent != row.dscp_received));
        }
    }
}
