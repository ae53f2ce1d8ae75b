//! `netlat stamp`: a STAMP measurement toward any reflector.

use model::{Tos, WorkerName};
use wire::stamp::StampKey;
use worker::stamp::{Amount, ClassOfServiceTlv, StampConfig};

use super::{parse_dscp, parse_ecn, read_key, resolve, runtime, show, stop_flag};
use crate::Outcome;
use crate::cli::StampArgs;

const PORT: u16 = 862;

pub fn run(args: StampArgs) -> anyhow::Result<Outcome> {
    let target = resolve(&args.target, PORT)?;
    let clock = net::Clock::from_env()?;
    let ecn = parse_ecn(&args.ecn)?;
    let any_ecn = ecn.iter().any(|ecn| *ecn != model::Ecn::NotEct);
    let classes: Vec<Tos> =
        parse_dscp(&args.dscp)?.into_iter().flat_map(|dscp| ecn.iter().map(move |ecn| Tos::new(dscp, *ecn))).collect();
    let key = match &args.key_file {
        Some(path) => Some(StampKey::new(&read_key(path)?)),
        None => None,
    };
    let mut config = StampConfig::new(target, clock.clone());
    config.classes = classes;
    config.rate_pps = args.rate;
    config.amount = Amount::Count(args.count);
    config.padding = args.padding;
    config.key = key;
    config.class_of_service = match (args.no_cos, any_ecn) {
        (true, _) => ClassOfServiceTlv::Off,
        // Only the later draft lets the sender ask for the reply's ECN.
        (false, true) => ClassOfServiceTlv::Draft,
        (false, false) => ClassOfServiceTlv::Rfc8972,
    };
    let runtime = runtime()?;
    let stop = stop_flag(&runtime)?;
    let outcome = worker::stamp::run(&config, &stop, &mut |_| {})?;
    let name = WorkerName::from_host_name("local");
    let report = worker::stamp::report(&name, server::report::rfc3339(clock.now()), &outcome)
        .map_err(|error| anyhow::anyhow!("cannot build the report: {error}"))?;
    show(&report, args.json, args.fail_on_finding, false)
}
