//! Real routers (the kernel's) with known rules, in both families.

use std::net::IpAddr;
use std::sync::atomic::AtomicBool;

use model::report::Where;
use model::{Dscp, Ecn, Family, Tos};

use super::lab::{THREE_ROUTERS, inside, this_test};
use crate::{Change, PathError, PathReport, Trace, TraceConfig, Tracer, locate};

const TARGETS: [&str; 2] = ["10.9.4.2", "fd09:4::2"];

fn mark(dscp: u8, ecn: Ecn) -> Tos {
    Tos::new(Dscp::new(dscp).unwrap(), ecn)
}

fn between(after_hop: u8, by_hop: u8) -> Where {
    Where { after_hop, by_hop }
}

/// True in the laboratory.
fn lab(test: &str, rules: &str) -> bool {
    inside(test, &format!("{THREE_ROUTERS}\n{rules}"), "ip netns exec client")
}

fn trace_to(target: &str, classes: &[Tos]) -> Trace {
    let target: IpAddr = target.parse().unwrap();
    let clock = net::Clock::identity();
    let config = TraceConfig { classes: classes.to_vec(), ..TraceConfig::new(target, clock) };
    let tracer = Tracer::open(&Family::ALL).unwrap();
    let trace = tracer.trace(&config, &AtomicBool::new(false), &mut |_| {}).unwrap();
    PathReport::new("now".to_owned(), trace.clone()).lines().iter().for_each(|line| println!("{line}"));
    trace
}

fn found(changes: &[Change]) -> Vec<(Tos, Tos, Where)> {
    changes.iter().map(|change| (change.from_mark, change.to_mark, change.location)).collect()
}

fn addresses(trace: &Trace) -> Vec<String> {
    trace.hops.iter().map(|hop| hop.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")).collect()
}

const EF: Tos = Tos::from_byte(184);

#[test]
fn a_change_in_forward_shows_at_the_next_hop() {
    let rules = "rules r2 forward <<< 'ip dscp ef ip dscp set cs0
        ip6 dscp ef ip6 dscp set cs0
        ip ecn ect0 ip ecn set not-ect
        ip6 ecn ect0 ip6 ecn set not-ect'";
    if !lab(this_test!("a_change_in_forward_shows_at_the_next_hop"), rules) {
        return;
    }
    let af41 = mark(34, Ecn::Ect0);
    for target in TARGETS {
        let trace = trace_to(target, &[Tos::default(), EF, af41]);
        assert_eq!((trace.reached, trace.destination_hop, trace.complete), (true, Some(4), true));
        let expected = if target.starts_with("10") {
            ["10.9.1.2", "10.9.2.2", "10.9.3.2", "10.9.4.2"]
        } else {
            ["fd09:1::2", "fd09:2::2", "fd09:3::2", "fd09:4::2"]
        };
        assert_eq!(addresses(&trace), expected);
        let changes = locate(&trace, None);
        let expected = [(af41, mark(34, Ecn::NotEct), between(2, 3)), (EF, Tos::default(), between(2, 3))];
        assert_eq!(found(&changes), expected);
        assert!(changes.iter().all(|change| change.count >= 3 && change.unseen.is_empty()));
        assert!(trace.hops.iter().all(|hop| hop.rtt_ms.is_some_and(|rtt| rtt.min > 0.0 && rtt.min <= rtt.p50)));
    }
}

#[test]
fn a_change_in_prerouting_shows_at_the_hop_itself() {
    let rules = "rules r2 prerouting <<< 'ip dscp ef ip dscp set cs1
        ip6 dscp ef ip6 dscp set cs1'";
    if !lab(this_test!("a_change_in_prerouting_shows_at_the_hop_itself"), rules) {
        return;
    }
    for target in TARGETS {
        let changes = locate(&trace_to(target, &[EF]), None);
        assert_eq!(found(&changes), [(EF, mark(8, Ecn::NotEct), between(1, 2))]);
    }
}

#[test]
fn a_silent_hop_widens_the_interval() {
    let rules = "quiet r2
        rules r1 forward <<< 'ip dscp ef ip dscp set cs0
        ip6 dscp ef ip6 dscp set cs0'";
    if !lab(this_test!("a_silent_hop_widens_the_interval"), rules) {
        return;
    }
    for target in TARGETS {
        let trace = trace_to(target, &[Tos::default(), EF]);
        let silent: Vec<u8> = trace.hops.iter().filter(|hop| hop.silent).map(|hop| hop.hop).collect();
        assert_eq!(silent, [2]);
        let changes = locate(&trace, None);
        assert_eq!(found(&changes), [(EF, Tos::default(), between(1, 3))]);
        assert_eq!(changes[0].unseen, [2]);
        assert_eq!(changes[0].note.as_deref(), Some("hop 2 does not answer"));
    }
}

#[test]
fn two_changes_on_one_path_are_two() {
    let rules = "rules r1 forward <<< 'ip dscp ef ip dscp set af41'
        rules r3 forward <<< 'ip dscp af41 ip dscp set cs0'";
    if !lab(this_test!("two_changes_on_one_path_are_two"), rules) {
        return;
    }
    let af41 = mark(34, Ecn::NotEct);
    let changes = locate(&trace_to(TARGETS[0], &[EF]), None);
    assert_eq!(found(&changes), [(EF, af41, between(1, 2)), (af41, Tos::default(), between(3, 4))]);
    assert_eq!(changes.iter().map(|change| change.at_destination).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_rule_on_this_host_is_told_from_the_network() {
    let rules = "rules client output <<< 'ip dscp ef ip dscp set cs0
        ip6 dscp ef ip6 dscp set cs0'";
    if !lab(this_test!("a_rule_on_this_host_is_told_from_the_network"), rules) {
        return;
    }
    for target in TARGETS {
        assert_eq!(found(&locate(&trace_to(target, &[EF]), None)), [(EF, Tos::default(), between(0, 0))]);
    }
}

#[test]
fn a_silent_target_is_found_by_what_arrived_there() {
    let rules = "quiet server
        rules r3 forward <<< 'ip dscp ef ip dscp set cs0
        ip6 dscp ef ip6 dscp set cs0'";
    if !lab(this_test!("a_silent_target_is_found_by_what_arrived_there"), rules) {
        return;
    }
    for target in TARGETS {
        let trace = trace_to(target, &[EF]);
        assert_eq!((trace.reached, trace.destination_hop, trace.hops.len()), (false, None, 3));
        assert_eq!(locate(&trace, None), []);
        let changes = locate(&trace, Some(&|_| Some(Tos::default())));
        assert_eq!(found(&changes), [(EF, Tos::default(), between(3, 4))]);
        assert!(changes[0].at_destination);
        assert!(trace.notes.iter().any(|note| note.contains("nothing beyond hop 3 answers")), "{:?}", trace.notes);
    }
}

#[test]
fn a_filter_that_refuses_is_where_the_path_ends() {
    let rules = "rules r2 forward <<< 'udp dport 33434 reject with icmpx admin-prohibited'";
    if !lab(this_test!("a_filter_that_refuses_is_where_the_path_ends"), rules) {
        return;
    }
    for target in TARGETS {
        let trace = trace_to(target, &[EF]);
        let refusing: Vec<(u8, bool)> = trace.hops.iter().map(|hop| (hop.hop, hop.refuses)).collect();
        assert_eq!((refusing, trace.reached), (vec![(1, false), (2, true)], false));
        assert_eq!(locate(&trace, None), []);
    }
}

#[test]
fn a_nat_on_the_way_hides_nothing() {
    let rules = "ip netns exec r1 nft 'add table ip n; add chain ip n p { type nat hook postrouting priority srcnat; }; add rule ip n p oifname r1-r2 masquerade'
        rules r3 prerouting <<< 'ip dscp ef ip dscp set cs0'";
    if !lab(this_test!("a_nat_on_the_way_hides_nothing"), rules) {
        return;
    }
    let trace = trace_to(TARGETS[0], &[Tos::default(), EF]);
    assert_eq!(addresses(&trace), ["10.9.1.2", "10.9.2.2", "10.9.3.2", "10.9.4.2"]);
    assert_eq!(found(&locate(&trace, None)), [(EF, Tos::default(), between(2, 3))]);
}

#[test]
fn the_kernels_own_rate_limit_is_waited_for() {
    // Defaults: 6 ICMP errors at once, then one a second.
    if !lab(this_test!("the_kernels_own_rate_limit_is_waited_for"), "rules r2 forward <<< 'ip dscp set cs0'") {
        return;
    }
    let classes: Vec<Tos> = [0, 10, 26, 34, 46].into_iter().map(|dscp| mark(dscp, Ecn::NotEct)).collect();
    let trace = trace_to(TARGETS[0], &classes);
    assert!(trace.complete && trace.foreign == 0);
    for hop in &trace.hops {
        for class in &classes {
            let count: u32 = hop.marks.iter().filter(|mark| mark.sent == *class).map(|mark| mark.count).sum();
            assert!(count >= 3, "hop {}, {class}: {count}", hop.hop);
        }
    }
    let changes = locate(&trace, None);
    assert_eq!(changes.len(), 4);
    assert!(changes.iter().all(|change| change.location == between(2, 3) && change.to_mark == Tos::default()));
}

#[test]
fn without_the_capability_one_line_says_what_to_do() {
    let test = this_test!("without_the_capability_one_line_says_what_to_do");
    if !inside(test, "", "setpriv --bounding-set=-net_raw --inh-caps=-net_raw") {
        return;
    }
    let error = Tracer::open(&[Family::Ipv4]).unwrap_err();
    assert!(matches!(error, PathError::NotPermitted(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("CAP_NET_RAW") && text.contains("sudo") && !text.contains('\n'), "{text}");
}

#[test]
fn a_stop_ends_it_with_what_was_heard() {
    if !lab(this_test!("a_stop_ends_it_with_what_was_heard"), "quiet r2") {
        return;
    }
    let config = TraceConfig::new(TARGETS[0].parse().unwrap(), net::Clock::identity());
    let stop = AtomicBool::new(false);
    let tracer = Tracer::open(&Family::ALL).unwrap();
    let trace = tracer
        .trace(&config, &stop, &mut |progress| {
            if progress.reached {
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        })
        .unwrap();
    assert!(!trace.complete && trace.reached && !trace.hops.is_empty());
}
