//! System tests: the real program as processes on loopback. They need no root; what they need beside Rust (util-linux,
//! iproute2, mount) is named when it is missing, and nothing is skipped.

mod alerts;
mod bad_input;
mod bots;
mod capture;
mod connections;
mod crash;
mod dashboard;
mod forged;
mod full_disk;
mod hosts;
mod intercepted;
mod outlook;
mod proxy;
mod secrets;
mod serving;
mod spool;
mod strangers;
mod support;
mod transfers;
