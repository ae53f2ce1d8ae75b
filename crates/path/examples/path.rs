//! `path ADDRESS [dscp=0,46] [ecn=0] [port=N]`: one trace, as a table on stderr and JSON on stdout. For trying the module by
//! itself; people use `netlat path`.

use std::net::IpAddr;
use std::sync::atomic::AtomicBool;

use model::{Dscp, Ecn, Family, Tos};
use path::{PathReport, TraceConfig, Tracer};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let target: IpAddr = arguments.next().expect("ADDRESS").parse().expect("an address");
    let mut config = TraceConfig::new(target, net::Clock::from_env().expect("clock"));
    let (mut dscp, mut ecn) = (vec![0, 46], vec![0]);
    let list = |text: &str| text.split(',').map(|n| n.parse().expect("a number")).collect::<Vec<u8>>();
    for argument in arguments {
        match argument.split_once('=').unwrap_or((&argument, "")) {
            ("dscp", text) => dscp = list(text),
            ("ecn", text) => ecn = list(text),
            ("port", text) => config.port = text.parse().expect("a port"),
            (other, _) => panic!("unknown argument {other}"),
        }
    }
    config.classes = dscp
        .iter()
        .flat_map(|d| ecn.iter().map(|e| Tos::new(Dscp::new(*d).expect("0..=63"), Ecn::from_bits(*e))))
        .collect();
    let traced = Tracer::open(&[Family::of(target)])
        .and_then(|tracer| tracer.trace(&config, &AtomicBool::new(false), &mut |_| {}));
    match traced {
        Ok(trace) => {
            let report = PathReport::new("1970-01-01T00:00:00Z".to_owned(), trace);
            report.lines().iter().for_each(|line| eprintln!("{line}"));
            println!("{}", serde_json::to_string_pretty(&report).expect("JSON"));
        }
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}
