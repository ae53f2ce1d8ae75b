//! A scenario: the cities, their hops and policies, and what is to be found there. How a file spells it is in
//! `scenario_text`.

use std::path::Path;

use model::report::{EcnFinding, Pathology};
use model::{Direction, Family};

use crate::error::ScenarioError;
use crate::policy::{Policy, Protocol};
use crate::relay::Relay;
use crate::truth::Traffic;

/// The demo's scenario file.
pub const DEMO: &str = include_str!("../scenarios/demo.toml");

/// A lab to be built.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    pub name: String,
    /// One sentence for people.
    pub summary: String,
    /// Let every user of a city send ICMP echoes without privilege (`net.ipv4.ping_group_range`).
    pub unprivileged_icmp: bool,
    /// 1 to 200, names unique.
    pub cities: Vec<City>,
}

impl Scenario {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Scenario, ScenarioError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::Unreadable { path: path.to_owned(), source })?;
        Scenario::parse(&path.display().to_string(), &text)
    }

    /// Reads and checks a text; `file` is what errors call it.
    pub fn parse(file: &str, text: &str) -> Result<Scenario, ScenarioError> {
        let scenario = crate::scenario_text::parse(file, text)?;
        scenario.check_expectations(file)?;
        Ok(scenario)
    }

    /// The scenario of `netlat demo`.
    pub fn demo() -> Result<Scenario, ScenarioError> {
        Scenario::parse("demo.toml", DEMO)
    }

    pub fn city(&self, name: &str) -> Option<&City> {
        self.cities.iter().find(|city| city.name == name)
    }

    /// What the file states must be what its policies do.
    fn check_expectations(&self, file: &str) -> Result<(), ScenarioError> {
        for city in &self.cities {
            for stated in &city.expected {
                for traffic in stated.covers() {
                    let derived = city.finding_of(&traffic);
                    let describe = |pathology: Pathology,
                                    dscp_hop: Option<u8>,
                                    ecn: EcnFinding,
                                    ecn_hop: Option<u8>| {
                        let hop = |hop: Option<u8>| hop.map_or(String::new(), |hop| format!(" at hop {hop}"));
                        format!("pathology {}{}, ecn {}{}", pathology.name(), hop(dscp_hop), ecn.name(), hop(ecn_hop))
                    };
                    let says = describe(stated.pathology, stated.hop, stated.ecn, stated.ecn_hop);
                    let does = describe(derived.pathology, derived.dscp_hop, derived.ecn, derived.ecn_hop);
                    if says != does {
                        return Err(ScenarioError::Invalid {
                            file: file.to_owned(),
                            place: format!("city '{}', expected", city.name),
                            problem: format!(
                                "it states {says} for {} {} {}, but the policies make {does}: correct one of the two",
                                traffic.protocol.name(),
                                traffic.family,
                                traffic.direction
                            ),
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

/// A worker's place and its way to the server.
#[derive(Clone, Debug, PartialEq)]
pub struct City {
    /// As a hosting region is called, for instance `nyc1`; at most 15 characters, as the server's interface towards
    /// the city has the same name.
    pub name: String,
    /// What is special about it, for people; may be empty.
    pub summary: String,
    /// Third byte of the city's IPv4 addresses, from 1 in the order of the file.
    pub number: u8,
    /// 1 to 4 routers; the first stands next to the worker.
    pub hops: Vec<Hop>,
    /// A delay line between the worker and the first hop.
    pub relay: Option<Relay>,
    /// What the file states. [`City::finding`] derives the same for anything.
    pub expected: Vec<Expectation>,
}

/// A router.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hop {
    pub policies: Vec<Policy>,
    /// It limits its ICMP errors as Linux does by itself; else it answers every one.
    pub limits_errors: bool,
}

/// What the file says a measurement should find. Hops are counted from the worker's end, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Never [`Direction::RoundTrip`]; `None` is both ways.
    pub direction: Option<Direction>,
    /// `None` is both.
    pub family: Option<Family>,
    pub protocol: Protocol,
    pub pathology: Pathology,
    pub ecn: EcnFinding,
    pub hop: Option<u8>,
    pub ecn_hop: Option<u8>,
}

impl Expectation {
    /// Every kind of traffic it speaks of.
    pub fn covers(&self) -> Vec<Traffic> {
        let directions = [Direction::Up, Direction::Down];
        let directions = directions.into_iter().filter(|each| self.direction.is_none_or(|only| only == *each));
        directions
            .flat_map(|direction| {
                let families = Family::ALL.into_iter().filter(|each| self.family.is_none_or(|only| only == *each));
                families.map(move |family| Traffic::new(direction, self.protocol, family))
            })
            .collect()
    }
}
