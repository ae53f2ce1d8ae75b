//! From a scenario to the steps that build it: pure, and readable as text. `run` carries them out.

use std::fmt;
use std::net::IpAddr;

use model::Family;

use crate::addresses::{End, SERVER_V4, SERVER_V6, WORKER_INTERFACE, on_segment, server};
use crate::relay::{FAR, NEAR, Relay};
use crate::rules;
use crate::scenario::{City, Scenario};

/// A network namespace of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    Server,
    /// The worker's place in the city of this name.
    City(&'a str),
    /// A city's hop, counted from the worker, from 1.
    Hop(&'a str, u8),
    /// A city's delay line.
    Relay(&'a str),
}

impl Place<'_> {
    /// The name `ip netns` knows it by.
    pub fn namespace(&self) -> String {
        match self {
            Place::Server => "server".to_owned(),
            Place::City(city) => (*city).to_owned(),
            // No city's name has a dot.
            Place::Hop(city, hop) => format!("{city}.hop{hop}"),
            Place::Relay(city) => format!("{city}.relay"),
        }
    }
}

/// One thing to do, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// `ip netns add`.
    Namespace(String),
    /// The first of the values that the kernel takes. Where none is taken a required one fails, another is reported.
    Sysctl { namespace: String, key: String, values: Vec<String>, required: bool },
    /// A line for `ip -batch`, in a namespace or (`None`) among them.
    Ip { namespace: Option<String>, line: String },
    /// A line for `tc -batch`.
    Tc { namespace: String, line: String },
    /// A text for `nft -f -`.
    Nft { namespace: String, ruleset: String },
    /// Start the relay process of a city.
    Relay { namespace: String, city: String, relay: Relay },
}

/// Everything that builds a lab.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub steps: Vec<Step>,
}

impl Plan {
    pub fn of(scenario: &Scenario) -> Plan {
        let mut plan = Plan { steps: Vec::new() };
        plan.namespace(Place::Server, false);
        for city in &scenario.cities {
            plan.city_namespaces(city, scenario.unprivileged_icmp);
        }
        for address in [format!("{SERVER_V4}/32"), format!("{SERVER_V6}/128")] {
            plan.ip(Place::Server, format!("address add {address} dev lo"));
        }
        for city in &scenario.cities {
            plan.links(city);
        }
        for city in &scenario.cities {
            plan.routes(city);
            plan.policies(city);
        }
        // Last, when everything they stand between is there.
        for city in &scenario.cities {
            if let Some(relay) = &city.relay {
                let namespace = Place::Relay(&city.name).namespace();
                plan.steps.push(Step::Relay { namespace, city: city.name.clone(), relay: relay.clone() });
            }
        }
        plan
    }

    fn ip(&mut self, place: Place<'_>, line: String) {
        self.steps.push(Step::Ip { namespace: Some(place.namespace()), line });
    }

    fn sysctl(&mut self, place: Place<'_>, key: &str, values: &[&str], required: bool) {
        let values = values.iter().map(|&value| value.to_owned()).collect();
        self.steps.push(Step::Sysctl { namespace: place.namespace(), key: key.to_owned(), values, required });
    }

    fn city_namespaces(&mut self, city: &City, unprivileged_icmp: bool) {
        let name = &city.name;
        self.namespace(Place::City(name), unprivileged_icmp);
        if city.relay.is_some() {
            let place = Place::Relay(name);
            self.steps.push(Step::Namespace(place.namespace()));
            // The relay is a wire: its kernel neither speaks nor listens.
            self.sysctl(place, "net/ipv6/conf/default/disable_ipv6", &["1"], false);
        }
        for hop in hop_numbers(city) {
            let place = Place::Hop(name, hop);
            self.namespace(place, false);
            self.sysctl(place, "net/ipv4/ip_forward", &["1"], true);
            self.sysctl(place, "net/ipv6/conf/all/forwarding", &["1"], true);
            if city.hops.get(usize::from(hop) - 1).is_some_and(|hop| hop.limits_errors) {
                continue;
            }
            // Time-exceeded for every probe of a path measurement, not for some.
            for key in ["net/ipv4/icmp_ratelimit", "net/ipv6/icmp/ratelimit"] {
                self.sysctl(place, key, &["0"], false);
            }
        }
    }

    fn namespace(&mut self, place: Place<'_>, unprivileged_icmp: bool) {
        self.steps.push(Step::Namespace(place.namespace()));
        for conf in ["all", "default"] {
            self.sysctl(place, &format!("net/ipv4/conf/{conf}/rp_filter"), &["0"], true);
        }
        // Addresses are usable at once, and nobody asks or listens for routers.
        for (key, value) in [("accept_dad", "0"), ("accept_ra", "0"), ("router_solicitations", "0")] {
            self.sysctl(place, &format!("net/ipv6/conf/default/{key}"), &[value], false);
        }
        if unprivileged_icmp {
            // All groups; in a user namespace that maps only one, just that one.
            self.sysctl(place, "net/ipv4/ping_group_range", &["0 2147483647", "0 0"], false);
        }
        self.ip(place, "link set dev lo up".to_owned());
    }

    /// Every veth pair, with addresses, the neighbours' link addresses (so that no resolution delays a first packet)
    /// and frames of one segment each (so that a policer or a lossy relay counts what the network would see).
    fn links(&mut self, city: &City) {
        let name = city.name.as_str();
        let last = hop_count(city);
        for segment in 0..=last {
            let near_end =
                if segment == 0 { (Place::City(name), WORKER_INTERFACE) } else { (Place::Hop(name, segment), FAR) };
            let far_end = if segment == last { (Place::Server, name) } else { (Place::Hop(name, segment + 1), NEAR) };
            let relayed = segment == 0 && city.relay.is_some();
            let [worker_mac, server_mac] = [End::Worker, End::Server].map(|end| link_address(city, segment, end));
            let near_link = format!("{} address {worker_mac}", link_end(near_end));
            let far_link = format!("{} address {server_mac}", link_end(far_end));
            if relayed {
                let relay = Place::Relay(name);
                self.pair(&near_link, &link_end((relay, NEAR)));
                self.pair(&link_end((relay, FAR)), &far_link);
                for interface in [NEAR, FAR] {
                    self.ip(relay, format!("link set dev {interface} up"));
                }
            } else {
                self.pair(&near_link, &far_link);
            }
            for family in Family::ALL {
                let worker_side = on_segment(city.number, segment, End::Worker, family);
                let server_side = if segment == last {
                    server(family)
                } else {
                    on_segment(city.number, segment, End::Server, family)
                };
                let shared = segment == last;
                self.address(near_end, worker_side, server_side, shared);
                self.address(far_end, server_side, worker_side, shared);
            }
            for (place, interface) in [near_end, far_end] {
                self.ip(place, format!("link set dev {interface} up"));
            }
            for family in Family::ALL {
                let worker_side = on_segment(city.number, segment, End::Worker, family);
                let server_side = if segment == last {
                    server(family)
                } else {
                    on_segment(city.number, segment, End::Server, family)
                };
                if segment == last && family == Family::Ipv6 {
                    self.ip(near_end.0, format!("route add {server_side}/128 dev {}", near_end.1));
                    self.ip(far_end.0, format!("route add {worker_side}/128 dev {}", far_end.1));
                }
                self.neighbour(near_end, server_side, &server_mac);
                self.neighbour(far_end, worker_side, &worker_mac);
            }
        }
    }

    fn pair(&mut self, one: &str, other: &str) {
        let line = format!("link add {one} type veth peer {other}");
        self.steps.push(Step::Ip { namespace: None, line });
    }

    /// On the last segment both ends are point to point: the server has one address for all cities.
    fn address(&mut self, (place, interface): (Place<'_>, &str), own: IpAddr, peer: IpAddr, shared: bool) {
        let line = match (shared, own.is_ipv4()) {
            (true, true) => format!("address add {own} peer {peer} dev {interface}"),
            // The kernel makes no route to an IPv6 peer that was named before the link came up: `links` makes it.
            (true, false) => format!("address add {own}/128 dev {interface} nodad"),
            (false, true) => format!("address add {own}/30 dev {interface}"),
            (false, false) => format!("address add {own}/64 dev {interface} nodad"),
        };
        self.ip(place, line);
    }

    fn neighbour(&mut self, (place, interface): (Place<'_>, &str), peer: IpAddr, mac: &str) {
        self.ip(place, format!("neighbour add {peer} lladdr {mac} nud permanent dev {interface}"));
    }

    /// Upwards everything goes to the server, downwards the city's addresses go to the worker's side.
    fn routes(&mut self, city: &City) {
        let name = city.name.as_str();
        let last = hop_count(city);
        for family in Family::ALL {
            for position in 0..last {
                let place = if position == 0 { Place::City(name) } else { Place::Hop(name, position) };
                let next = on_segment(city.number, position, End::Server, family);
                self.ip(place, format!("route add default via {next}"));
            }
            self.ip(Place::Hop(name, last), format!("route add default via {}", server(family)));
            for hop in 2..=last {
                let next = on_segment(city.number, hop - 1, End::Worker, family);
                for segment in 0..hop - 1 {
                    let network = segment_network(city, segment, family);
                    self.ip(Place::Hop(name, hop), format!("route add {network} via {next}"));
                }
            }
            let next = on_segment(city.number, last, End::Worker, family);
            for segment in 0..last {
                let network = segment_network(city, segment, family);
                let source = server(family);
                self.ip(Place::Server, format!("route add {network} via {next} src {source}"));
            }
        }
    }

    fn policies(&mut self, city: &City) {
        for (number, hop) in (1..).zip(&city.hops) {
            let place = Place::Hop(&city.name, number);
            for (interface, direction) in [(FAR, model::Direction::Up), (NEAR, model::Direction::Down)] {
                self.shaping(place, interface, direction, &hop.policies);
            }
            let ruleset = rules::ruleset(hop);
            if !ruleset.is_empty() {
                self.steps.push(Step::Nft { namespace: place.namespace(), ruleset });
            }
        }
    }

    fn shaping(&mut self, place: Place<'_>, interface: &str, direction: model::Direction, policies: &[crate::Policy]) {
        let lines = crate::queues::lines(interface, direction, policies);
        self.steps.extend(lines.into_iter().map(|line| Step::Tc { namespace: place.namespace(), line }));
    }
}

fn hop_count(city: &City) -> u8 {
    u8::try_from(city.hops.len()).unwrap_or(u8::MAX)
}

fn hop_numbers(city: &City) -> std::ops::RangeInclusive<u8> {
    1..=hop_count(city)
}

fn link_end((place, interface): (Place<'_>, &str)) -> String {
    format!("name {interface} netns {} gso_max_segs 1", place.namespace())
}

/// Locally administered, the same in every run.
fn link_address(city: &City, segment: u8, end: End) -> String {
    format!("02:4e:4c:{:02x}:{segment:02x}:{:02x}", city.number, if end == End::Worker { 1 } else { 2 })
}

fn segment_network(city: &City, segment: u8, family: Family) -> String {
    match family {
        Family::Ipv4 => format!("10.77.{}.{}/30", city.number, segment * 4),
        Family::Ipv6 => format!("fd77:{:x}:{segment:x}::/64", city.number),
    }
}

/// As commands that a person could type inside the lab's namespaces.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            match step {
                Step::Namespace(name) => writeln!(f, "ip netns add {name}")?,
                Step::Sysctl { namespace, key, values, .. } => {
                    writeln!(f, "nsenter --net=/run/netns/{namespace} sysctl -w {key}='{}'", values.join("' or '"))?;
                }
                Step::Ip { namespace: Some(namespace), line } => writeln!(f, "ip -n {namespace} {line}")?,
                Step::Ip { namespace: None, line } => writeln!(f, "ip {line}")?,
                Step::Tc { namespace, line } => writeln!(f, "tc -n {namespace} {line}")?,
                Step::Nft { namespace, ruleset } => {
                    writeln!(f, "nsenter --net=/run/netns/{namespace} nft -f - <<'RULES'\n{ruleset}RULES")?;
                }
                Step::Relay { namespace, city, .. } => writeln!(f, "start the relay of {city} in {namespace}")?,
            }
        }
        Ok(())
    }
}
