//! The store seen from outside: what was committed is what is read, exported, kept and survived.

mod catalogue;
mod concurrency;
mod export;
mod generate;
mod killed;
mod opening;
mod records;
mod retention;
mod roundtrip;
