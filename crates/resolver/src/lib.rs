//! DNS as this project needs it: which resolvers the host has, one question to one of them, so that no cache of this process or of
//! libc answers, and what a message says. For `netlat check`, the bots and the worker's watch alike.

mod ask;
mod configured;
mod message;

pub use ask::{Answer, addresses, ask};
pub use configured::configured;
pub use hickory_proto::op::ResponseCode;
pub use hickory_proto::rr::RecordType;
pub use message::{Dns, MOST_ADDRESSES};
