//! `netlat reflect`: a STAMP reflector until it is stopped.

use server::reflect::{ReflectConfig, Reflector};
use wire::stamp::StampKey;

use super::{print_json, read_key, runtime, stop_flag};
use crate::Outcome;
use crate::cli::ReflectArgs;

pub fn run(args: ReflectArgs) -> anyhow::Result<Outcome> {
    let mut config = ReflectConfig::new(net::Clock::from_env()?);
    config.listen = args.listen;
    config.stateful = args.stateful;
    config.key = match &args.key_file {
        Some(path) => Some(StampKey::new(&read_key(path)?)),
        None => None,
    };
    let reflector = Reflector::bind(config)?;
    net::capability::drop_all()?;
    for address in reflector.addresses() {
        tracing::info!(%address, "reflecting");
    }
    for line in reflector.untested() {
        tracing::warn!("{line}");
    }
    let runtime = runtime()?;
    let stop = stop_flag(&runtime)?;
    reflector.run(&stop);
    let counts = reflector.counters().read();
    if args.json {
        print_json(&counts)?;
    } else {
        tracing::info!(?counts, "ended");
    }
    Ok(Outcome::Done)
}
