//! Whole TCP transfers in randomised pairs: which of two classes does TCP carry faster, and does a limit show?
//!
//! The unit is a pair of transfers, one of each arm in the order of a coin, each on a connection of its own. If the network ignores
//! the class, which of the two is faster is a fair coin whatever cross traffic, routes, caches and slow start do, so the e-process on
//! that sign holds its error rate at any time; the sizes of the differences are used for the estimate only.

mod apply;
mod curve;
mod judge;
mod order;
mod plan;
#[cfg(test)]
mod tests;

pub use apply::apply;
pub use curve::{Curve, Measured};
pub use judge::{BulkFinding, BulkJudge};
pub use order::least_pairs;
pub use plan::{BulkPlan, BulkTurn};
