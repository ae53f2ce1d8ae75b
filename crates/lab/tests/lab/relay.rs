//! The delay line between real interfaces: order, counts and lower bounds, never upper bounds of time.

use std::collections::BTreeSet;
use std::time::Duration;

use model::Direction;

use crate::probe;
use crate::scenarios::shipped;

/// The number behind a word in the output.
fn number_after(text: &str, word: &str) -> u64 {
    let rest = text.split_once(word).unwrap_or_else(|| panic!("no {word} in {text}")).1.trim_start_matches([' ', ':']);
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// Numbers of the packets in order of arrival.
fn arrivals(text: &str) -> Vec<u64> {
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

#[test]
fn a_fixed_delay_keeps_every_packet_in_order_and_waits_both_ways() {
    let output = probe::printed(&mut probe::command("order", "delays.toml", &["sgp1", "500"]));
    let text = probe::text(&output.stdout);
    assert_eq!(arrivals(&text), (0..500).collect::<Vec<_>>());
    let city = shipped("delays.toml");
    let relay = city.city("sgp1").unwrap().relay.as_ref().unwrap();
    assert_eq!(relay.line(Direction::Up).delay, Duration::from_millis(30));
    let both = relay.up.delay + relay.down.delay;
    assert!(Duration::from_micros(number_after(&text, "round-trip")) >= both, "{text}");
}

#[test]
fn a_bad_line_loses_doubles_and_reorders_as_many_as_it_says() {
    let output = probe::printed(&mut probe::command("order", "delays.toml", &["blr1", "2000"]));
    let (text, said) = (probe::text(&output.stdout), probe::text(&output.stderr));
    let up = said.lines().find_map(|line| line.strip_prefix("relay blr1 up")).unwrap();
    let up = up.split_once("down").unwrap().0;
    let [lost, duplicated, reordered] = ["lost", "duplicated", "reordered"].map(|word| number_after(up, word));
    // Shares of 0.1, 0.05 and (of the survivors) 0.1 of 2,000.
    assert!((120..290).contains(&lost), "{up}");
    assert!((40..150).contains(&duplicated), "{up}");
    assert!((100..280).contains(&reordered), "{up}");
    let arrived = arrivals(&text);
    let distinct: BTreeSet<u64> = arrived.iter().copied().collect();
    // The relay's counts include the end marks, and a few multicast packets of a starting host.
    let others = number_after(&text, "end-marks") + number_after(up, "arrived") - 2000;
    assert!((2000 - lost..=2000 - lost + others).contains(&(distinct.len() as u64)), "{} {up}", distinct.len());
    let doubled = (arrived.len() - distinct.len()) as u64;
    assert!((duplicated.saturating_sub(others)..=duplicated).contains(&doubled), "{doubled} {up}");
    let overtakings = arrived.windows(2).filter(|pair| pair[0] > pair[1]).count() as u64;
    assert!((20..=reordered + duplicated).contains(&overtakings), "{overtakings} {up}");
}

#[test]
fn tcp_passes_whole_in_both_families() {
    let output = probe::printed(&mut probe::command("transfer", "delays.toml", &["sgp1", "2000000"]));
    assert_eq!(probe::text(&output.stdout), "ipv4 2000000 intact\nipv6 2000000 intact\n");
}
