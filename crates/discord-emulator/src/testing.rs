//! For tests against an emulated Discord: a place with a guild called `home` and a person called `alice`, and patience that
//! has a bound. What goes wrong here fails a test, so it panics.

use std::future::Future;
use std::time::Duration;

use crate::{Config, Emulator, Handle, Snowflake};

/// Far above what anything takes on a busy machine: a test that waits so long hangs.
pub const HUNG: Duration = Duration::from_secs(300);

/// An emulator, and who and what its configuration has to name.
pub struct Home {
    pub emulator: Emulator,
    pub handle: Handle,
    pub guild: Snowflake,
    pub alice: Snowflake,
}

impl Home {
    /// `config`: TOML with a guild `home` and a user `alice`.
    pub async fn start(config: &str) -> Home {
        let config = Config::parse(config, "test").expect("the configuration is right");
        let emulator = Emulator::start(config).await.expect("it starts");
        let handle = emulator.handle();
        let guild = handle.guild("home").expect("configured");
        let alice = handle.user("alice").expect("configured");
        Home { emulator, handle, guild, alice }
    }
}

impl Emulator {
    /// `HOST:PORT` of REST and gateway.
    pub fn host(&self) -> String {
        self.addresses().api[0].to_string()
    }
}

pub async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HUNG, future).await.unwrap_or_else(|_| panic!("{what}: nothing within {HUNG:?}"))
}

/// Looks again and again whether it holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    bounded(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
