//! Discord's REST API: one kept connection, rate limits obeyed, every exchange timed beside its connection's network time.

pub(crate) mod answer;
pub(crate) mod client;
pub(crate) mod connection;
pub mod endpoint;
mod error;
pub mod limits;

pub use answer::{Call, Method, Timed, Timing};
pub use client::{Rest, RestConfig};
pub use connection::{NoTrust, Trust};
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use error::RestError;
