//! Cities in network namespaces with known policies, for `netlat demo` and the tests.
//! The crate plans a lab from a scenario file, builds it, says what a measurement should find there, and tears it down.
//! It never measures, and never touches the network of the host: everything happens in fresh namespaces.
//!
//! ```text
//! city (eth0) -- [relay] -- hop 1 -- ... -- hop N -- server        one chain for each city, one server for all
//! ```
//!
//! Order of use: [`enter`] first thing in a fresh process, [`Scenario::read`], [`Lab::up`], [`Lab::command`].

pub mod addresses;
mod error;
pub mod pathology;
pub mod plan;
pub mod policy;
mod policy_text;
mod queues;
pub mod relay;
mod rules;
mod run;
pub mod scenario;
mod scenario_text;
mod stage;
mod tools;
pub mod truth;

pub use error::{LabError, ScenarioError};
pub use pathology::Finding;
pub use plan::{Place, Plan};
pub use policy::{Action, DscpSet, Policy, Protocol, Scope};
pub use run::{Lab, RelayProgram};
pub use scenario::{City, Expectation, Hop, Scenario};
pub use stage::{Stage, enter, reexec_command, stage};
pub use truth::{Outcome, Traffic};
