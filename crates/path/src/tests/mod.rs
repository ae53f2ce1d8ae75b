//! The tracer against simulated routers in virtual time, made-up traces, bytes of RFCs, and real routers in namespaces.

mod contrast;
mod explore;
pub(crate) mod lab;
mod locate;
mod namespaces;
mod quote;
mod report;
