//! The truth function against the definitions of RFC 9435, section 4, for all 64 values, and what a chain makes of it.

use lab::{Action, DscpSet, Protocol, Scenario, Traffic};
use model::report::{EcnFinding, Pathology};
use model::{Direction, Family};
use wire::{Dscp, Ecn, Tos};

fn city_with(policies: &str) -> lab::City {
    let text = format!("name = \"t\"\n[[city]]\nname = \"nyc1\"\n{policies}");
    Scenario::parse("t.toml", &text).unwrap().cities.remove(0)
}

fn hop_with(policy: &str) -> lab::City {
    city_with(&format!("[[city.hop]]\npolicies = [{{ {policy} }}]"))
}

/// Bits b5..b0 as in the figures of the RFC.
fn bits(x: u8) -> [bool; 6] {
    [5, 4, 3, 2, 1, 0].map(|bit| x >> bit & 1 == 1)
}

fn value(bits: [bool; 6]) -> u8 {
    bits.into_iter().fold(0, |value, bit| value << 1 | u8::from(bit))
}

#[test]
fn each_pathology_is_the_rfcs_for_all_64_values() {
    type Definition = fn([bool; 6]) -> [bool; 6];
    let cases: [(&str, Pathology, Definition); 7] = [
        ("kind = \"bleach\"", Pathology::BleachDscp, |_| [false; 6]),
        ("kind = \"clear-precedence\"", Pathology::BleachTosPrecedence, |[_, _, _, c, d, e]| {
            [false, false, false, c, d, e]
        }),
        ("kind = \"clear-some-precedence\"", Pathology::BleachSomeTos, |b| match b {
            [true, true, ..] => b,
            [_, _, _, c, d, e] => [false, false, false, c, d, e],
        }),
        ("kind = \"remark-precedence\", precedence = 5", Pathology::RemarkTos, |[_, _, _, c, d, e]| {
            [true, false, true, c, d, e]
        }),
        ("kind = \"bleach-low\"", Pathology::BleachLow, |[x, y, z, ..]| [x, y, z, false, false, false]),
        ("kind = \"bleach-some-low\"", Pathology::BleachSomeLow, |b| match b {
            [true, true, ..] => b,
            [x, y, z, ..] => [x, y, z, false, false, false],
        }),
        ("kind = \"remark\", to = 46", Pathology::RemarkDscp, |_| [true, false, true, true, true, false]),
    ];
    for (policy, pathology, definition) in cases {
        let city = hop_with(policy);
        for direction in [Direction::Up, Direction::Down] {
            for family in Family::ALL {
                for dscp in Dscp::all() {
                    for ecn in Ecn::ALL {
                        let received =
                            city.truth(direction, Protocol::Udp, family, Tos::new(dscp, ecn)).mark().unwrap();
                        assert_eq!(received.dscp().get(), value(definition(bits(dscp.get()))), "{policy} {dscp}");
                        assert_eq!(received.ecn(), ecn, "{policy} {dscp}");
                    }
                }
                assert_eq!(city.finding(direction, Protocol::Udp, family).pathology, pathology, "{policy}");
            }
        }
    }
}

#[test]
fn every_precedence_from_1_to_7_is_named_remark_tos() {
    for precedence in 1..=7 {
        let city = hop_with(&format!("kind = \"remark-precedence\", precedence = {precedence}"));
        assert_eq!(city.finding(Direction::Up, Protocol::Tcp, Family::Ipv4).pathology, Pathology::RemarkTos);
    }
}

#[test]
fn ecn_policies_do_what_their_names_say_to_the_four_code_points() {
    use Ecn::{Ce, Ect0, Ect1, NotEct};
    let cases = [
        ("ecn-bleach", EcnFinding::Bleached, [Some(NotEct), Some(NotEct), Some(NotEct), Some(NotEct)]),
        ("ecn-ect1-to-ect0", EcnFinding::Ect1ToEct0, [Some(NotEct), Some(Ect0), Some(Ect0), Some(Ce)]),
        ("ecn-ce", EcnFinding::CeForced, [Some(Ce), Some(Ce), Some(Ce), Some(Ce)]),
        ("ecn-ce-strip", EcnFinding::CeStripped, [Some(NotEct), Some(Ect1), Some(Ect0), Some(Ect0)]),
        ("ecn-drop-ect", EcnFinding::EctDropped, [Some(NotEct), None, None, Some(Ce)]),
    ];
    for (kind, finding, expected) in cases {
        let city = hop_with(&format!("kind = \"{kind}\""));
        for dscp in Dscp::all() {
            let received = [NotEct, Ect1, Ect0, Ce].map(|ecn| {
                let outcome = city.truth(Direction::Down, Protocol::Udp, Family::Ipv6, Tos::new(dscp, ecn));
                outcome.mark().inspect(|mark| assert_eq!(mark.dscp(), dscp)).map(Tos::ecn)
            });
            assert_eq!(received, expected, "{kind}");
        }
        let found = city.finding(Direction::Down, Protocol::Udp, Family::Ipv6);
        assert_eq!((found.ecn, found.pathology, found.ecn_hop), (finding, Pathology::None, Some(1)), "{kind}");
    }
}

#[test]
fn a_policy_reaches_only_its_direction_family_protocol_and_ports() {
    let city = hop_with(
        "kind = \"bleach\", direction = \"up\", family = \"ipv6\", protocol = \"udp\", ports = [53, \"8000-8010\"]",
    );
    let ef = Tos::new(Dscp::EF, Ecn::NotEct);
    let mut touched = 0;
    for direction in [Direction::Up, Direction::Down] {
        for protocol in Protocol::ALL {
            for family in Family::ALL {
                for port in [None, Some(53), Some(54), Some(8000), Some(8010), Some(8011)] {
                    let traffic = Traffic { direction, protocol, family, server_port: port };
                    let is_touched = city.truth_of(&traffic, ef).mark() != Some(ef);
                    let in_scope = (direction, protocol, family) == (Direction::Up, Protocol::Udp, Family::Ipv6)
                        && matches!(port, Some(53 | 8000 | 8010));
                    assert_eq!(is_touched, in_scope, "{traffic:?}");
                    touched += u32::from(is_touched);
                }
            }
        }
    }
    assert_eq!(touched, 3);
}

#[test]
fn hops_follow_one_another_in_the_packets_direction() {
    let city = city_with(
        "[[city.hop]]\npolicies = [{ kind = \"remark\", dscp = [46], to = 10 }]\n\
         [[city.hop]]\npolicies = [{ kind = \"remark\", dscp = [10], to = 20 }]",
    );
    let through = |direction| {
        let outcome = city.truth(direction, Protocol::Udp, Family::Ipv4, Tos::new(Dscp::EF, Ecn::Ect0));
        outcome.mark().map(|mark| (mark.dscp().get(), mark.ecn()))
    };
    assert_eq!(through(Direction::Up), Some((20, Ecn::Ect0)));
    assert_eq!(through(Direction::Down), Some((10, Ecn::Ect0)));
    assert_eq!(through(Direction::RoundTrip), Some((20, Ecn::Ect0)));
    assert_eq!(city.finding(Direction::Up, Protocol::Udp, Family::Ipv4).dscp_hop, Some(1));
    assert_eq!(city.finding(Direction::Down, Protocol::Udp, Family::Ipv4).dscp_hop, Some(2));
}

#[test]
fn chances_multiply_along_the_way() {
    let city = city_with(
        "[city.relay]\nup = { loss = 0.5 }\n\
         [[city.hop]]\npolicies = [{ kind = \"unstable\", dscp = [46], between = [0, 10], share = 0.25 }]\n\
         [[city.hop]]\npolicies = [{ kind = \"drop\", dscp = [10], share = 1 }]",
    );
    let outcome = city.truth(Direction::Up, Protocol::Udp, Family::Ipv4, Tos::new(Dscp::EF, Ecn::NotEct));
    assert_eq!(outcome.received(), [(Tos::from_byte(0), 0.125)]);
    assert!((outcome.loss() - 0.875).abs() < 1e-12);
    assert!(
        outcome.allows(None) && outcome.allows(Some(Tos::from_byte(0))) && !outcome.allows(Some(Tos::from_byte(40)))
    );
    let down = city.truth(Direction::Down, Protocol::Udp, Family::Ipv4, Tos::new(Dscp::EF, Ecn::NotEct));
    let marks: Vec<u8> = down.received().iter().map(|(mark, _)| mark.dscp().get()).collect();
    assert_eq!((marks, down.loss()), (vec![0, 10], 0.0));
    assert!(!down.allows(None));
}

#[test]
fn limits_are_listed_for_the_marks_that_meet_them() {
    let city = city_with(
        "[[city.hop]]\npolicies = [{ kind = \"remark\", direction = \"up\", dscp = [46], to = 18 }]\n\
         [[city.hop]]\npolicies = [{ kind = \"police\", direction = \"up\", dscp = [18], bytes_per_second = 1000, burst_bytes = 100 }]",
    );
    let meets = |direction, dscp: u8| {
        let traffic = Traffic::new(direction, Protocol::Udp, Family::Ipv4);
        let limits = city.limits(&traffic, Tos::new(Dscp::new(dscp).unwrap(), Ecn::NotEct));
        limits.iter().map(|limit| (limit.hop, limit.action.name())).collect::<Vec<_>>()
    };
    assert_eq!(meets(Direction::Up, 46), [(2, "police")]);
    assert_eq!(meets(Direction::Up, 18), [(2, "police")]);
    assert_eq!(meets(Direction::Up, 0), []);
    assert_eq!(meets(Direction::Down, 18), []);
    let Action::Police { dscp, .. } = city.hops[1].policies[0].action else { panic!("not a policer") };
    assert_eq!(dscp, DscpSet::from_iter(Dscp::new(18)));
}
