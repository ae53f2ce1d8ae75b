//! Real packets through real rules: what arrives is what the truth function says.

use lab::{City, Protocol, Scenario, Traffic};
use model::{Direction, Family};
use wire::{Dscp, Ecn, Tos};

use crate::probe::{self, Sent, Tallies};
use crate::scenarios::shipped;

/// The ports that lab-probe's server listens on.
const UDP_PORT: u16 = 8620;
const TCP_PORT_BASE: u16 = 20_000;

/// The traffic a probe is: an echo's reply has the mark as it arrived, so its truth is the round trip's.
fn traffic_of(sent: &Sent) -> Traffic {
    let direction = match (sent.protocol, sent.direction) {
        (Protocol::Icmp, Direction::Down) => Direction::RoundTrip,
        (_, direction) => direction,
    };
    let traffic = Traffic::new(direction, sent.protocol, sent.family);
    match sent.protocol {
        Protocol::Udp => traffic.on_port(UDP_PORT),
        Protocol::Tcp => traffic.on_port(TCP_PORT_BASE + u16::from(sent.tos.dscp().get())),
        Protocol::Icmp => traffic,
    }
}

/// Everything one run of `marks` sends: TCP masks the ECN bits, so it has 64 values and the others 256.
fn everything_sent(city: &City) -> impl Iterator<Item = Sent> {
    let directions = [Direction::Up, Direction::Down];
    let combinations = directions.into_iter().flat_map(|direction| {
        Protocol::ALL.into_iter().flat_map(move |protocol| Family::ALL.map(move |family| (direction, protocol, family)))
    });
    let name = city.name.clone();
    combinations.flat_map(move |(direction, protocol, family)| {
        let city = name.clone();
        (0..=255)
            .map(Tos::from_byte)
            .filter(move |tos| protocol != Protocol::Tcp || tos.ecn() == Ecn::NotEct)
            .map(move |tos| Sent { city: city.clone(), direction, protocol, family, tos })
    })
}

fn assert_truth(scenario: &Scenario, tallies: &Tallies) {
    for city in &scenario.cities {
        let mut wrong = Vec::new();
        for sent in everything_sent(city) {
            let traffic = traffic_of(&sent);
            // A TCP answer needs the question to arrive.
            let outcome = city.truth_of(&traffic, sent.tos);
            let asked = city.truth_of(&Traffic { direction: Direction::Up, ..traffic }, sent.tos);
            let received: Vec<Option<Tos>> = match tallies.get(&sent) {
                Some(marks) => marks.iter().map(|(mark, _)| Some(*mark)).collect(),
                None => vec![None],
            };
            let lost_question = sent.protocol == Protocol::Tcp && asked.allows(None);
            let up = Traffic { direction: Direction::Up, ..traffic };
            let limited = !city.limits(&traffic, sent.tos).is_empty() || !city.limits(&up, sent.tos).is_empty();
            let excused = received == [None] && (lost_question || limited);
            if !excused && !received.iter().all(|mark| outcome.allows(*mark)) {
                wrong.push(format!("{sent:?}: {received:?} instead of {:?}", outcome.received()));
            }
        }
        assert!(wrong.is_empty(), "{}: {} wrong, first: {}", city.name, wrong.len(), wrong[0]);
    }
}

#[test]
fn every_policy_does_to_every_mark_what_the_truth_says() {
    let output = probe::printed(&mut probe::command("marks", "policies.toml", &[]));
    assert_truth(&shipped("policies.toml"), &probe::tallies(&output));
}

#[test]
fn the_demo_does_what_it_states_for_a_user_without_privilege() {
    let output = probe::printed(&mut probe::unprivileged_command("marks", "demo.toml", &[]));
    assert_eq!(probe::text(&output.stderr).matches("warning").count(), 0, "{}", probe::text(&output.stderr));
    assert_truth(&shipped("demo.toml"), &probe::tallies(&output));
}

/// UDP packets that arrived, of those sent with this mark.
fn arrived(tallies: &Tallies, city: &str, direction: Direction, family: Family, dscp: u8) -> u64 {
    let tos = Tos::new(Dscp::new(dscp).unwrap(), Ecn::NotEct);
    let sent = Sent { city: city.to_owned(), direction, protocol: Protocol::Udp, family, tos };
    tallies.get(&sent).map_or(0, |marks| marks.iter().map(|(_, count)| count).sum())
}

#[test]
fn drops_and_unstable_marks_come_in_the_shares_stated() {
    const COUNT: u64 = 1000;
    let output = probe::printed(&mut probe::command("sample", "policies.toml", &["sto1", "1000", "0,46"]));
    let tallies = probe::tallies(&output);
    for direction in [Direction::Up, Direction::Down] {
        for family in Family::ALL {
            assert_eq!(arrived(&tallies, "sto1", direction, family, 0), COUNT);
            // 750 expected, standard deviation 13.7: eight of them.
            let survivors = arrived(&tallies, "sto1", direction, family, 46);
            assert!((640..=860).contains(&survivors), "{direction} {family}: {survivors}");
        }
    }
    let output = probe::printed(&mut probe::command("sample", "policies.toml", &["osl1", "1000", "0,46"]));
    let tallies = probe::tallies(&output);
    for direction in [Direction::Up, Direction::Down] {
        for family in Family::ALL {
            let sent =
                Sent { city: "osl1".to_owned(), direction, protocol: Protocol::Udp, family, tos: Tos::from_byte(184) };
            let marks = &tallies[&sent];
            assert_eq!(marks.iter().map(|(mark, _)| mark.dscp().get()).collect::<Vec<_>>(), [0, 10]);
            assert_eq!(marks.iter().map(|(_, count)| count).sum::<u64>(), COUNT);
            // 500 expected, standard deviation 15.8: eight of them.
            assert!(marks.iter().all(|(_, count)| (374..=626).contains(count)), "{marks:?}");
        }
    }
}

#[test]
fn policers_and_shapers_hold_back_their_mark_and_no_other() {
    for (city, dscp, at_least) in [("hel1", 18, 40), ("mil1", 26, 1000 / 44)] {
        let marks = format!("0,{dscp}");
        let output = probe::printed(&mut probe::command("sample", "policies.toml", &[city, "200", &marks]));
        let tallies = probe::tallies(&output);
        // One bucket for both families, which IPv4 empties first.
        let limited: u64 = Family::ALL.map(|family| arrived(&tallies, city, Direction::Up, family, dscp)).iter().sum();
        assert!((at_least..400).contains(&limited), "{city}: {limited} of 400");
        for family in Family::ALL {
            assert_eq!(arrived(&tallies, city, Direction::Down, family, dscp), 200, "{city}");
            assert_eq!(arrived(&tallies, city, Direction::Up, family, 0), 200, "{city}");
        }
    }
}

#[test]
fn hops_answer_with_the_mark_as_it_arrived_unless_silent() {
    let scenario = shipped("policies.toml");
    let city = scenario.city("zrh1").unwrap();
    let output = probe::printed(&mut probe::command("path", "policies.toml", &["zrh1"]));
    let mut expected = String::new();
    for family in Family::ALL {
        let address = |hop| city.hop_address(hop, Direction::Up, family).unwrap();
        // EF is taken off in the second hop's forward path, so the third is the first to quote 0.
        expected += &format!("{family} 1 silent\n{family} 2 {} 184\n{family} 3 {} 0\n", address(2), address(3));
    }
    assert_eq!(probe::text(&output.stdout), expected);
    let finding = city.finding(Direction::Up, Protocol::Udp, Family::Ipv4);
    let location = city.location(Direction::Up, finding.dscp_hop.unwrap());
    assert_eq!((location.after_hop, location.by_hop), (2, 3));
}
