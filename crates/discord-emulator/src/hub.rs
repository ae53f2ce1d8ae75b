//! What all surfaces share: the world, faults, stamps, limits, connections.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use data_encoding::HEXLOWER;
use ring::rand::{SecureRandom, SystemRandom};

use crate::config::Config;
use crate::error::EmulatorError;
use crate::faults::Faults;
use crate::gateway::StartLimits;
use crate::populate::populate;
use crate::rest::Limiter;
use crate::socket::{Connections, Control};
use crate::stamps::Stamps;
use crate::state::World;

pub struct Hub {
    world: Mutex<World>,
    pub config: Config,
    pub faults: Arc<Faults>,
    pub stamps: Stamps,
    pub connections: Arc<Connections>,
    pub limiter: Mutex<Limiter>,
    pub starts: Mutex<StartLimits>,
    random: SystemRandom,
}

/// How a request came in; in its extensions.
#[derive(Clone)]
pub struct Arrival {
    pub control: Arc<Control>,
    pub tls: bool,
}

impl Hub {
    pub fn new(config: Config) -> Result<Hub, EmulatorError> {
        let faults = Arc::new(Faults::new(config.faults.clone(), config.seed));
        let mut world = World::new(&config, faults.clone());
        populate(&mut world, &config)?;
        let random = SystemRandom::new();
        random.fill(&mut [0; 16]).map_err(|_| EmulatorError::Random)?;
        Ok(Hub {
            world: Mutex::new(world),
            faults,
            stamps: Stamps::new(config.limits.exchanges),
            connections: Arc::default(),
            limiter: Mutex::new(Limiter::new(&config)),
            starts: Mutex::default(),
            random,
            config,
        })
    }

    /// Held briefly, never across an await.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// 128 unguessable bits as 32 hexadecimal digits.
    pub fn secret(&self) -> String {
        HEXLOWER.encode(&self.random_bytes::<16>())
    }

    pub fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        // It worked at the start; a kernel that stops giving random bytes later leaves nothing to go on with.
        self.random.fill(&mut bytes).expect("the system gives random bytes");
        bytes
    }
}
