//! `stamp HOST:PORT [key=HEX] [dscp=0,46] [ecn=0,2] [draft] [plain] [ptp] [count=N] [rate=PPS] [padding=N]`: one session, its
//! report and counters as JSON. For trying the module by itself; people use `netlat stamp`.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;

use model::{Dscp, Ecn, Tos, WorkerName};
use worker::stamp::{Amount, ClassOfServiceTlv, StampConfig, report, run};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let target: SocketAddr = arguments.next().expect("HOST:PORT").parse().expect("an address");
    let mut config = StampConfig::new(target, net::Clock::from_env().expect("clock"));
    let (mut dscp, mut ecn) = (vec![0, 46], vec![0]);
    let list = |text: &str| text.split(',').map(|n| n.parse().expect("a number")).collect::<Vec<u8>>();
    for argument in arguments {
        match argument.split_once('=').unwrap_or((&argument, "")) {
            ("key", hex) => {
                let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).expect("hex");
                config.key = Some(wire::stamp::StampKey::new(&bytes));
            }
            ("dscp", "all") => dscp = (0..64).collect(),
            ("dscp", text) => dscp = list(text),
            ("ecn", text) => ecn = list(text),
            ("draft", _) => config.class_of_service = ClassOfServiceTlv::Draft,
            ("plain", _) => {
                config.class_of_service = ClassOfServiceTlv::Off;
                config.follow_up = false;
                config.direct_measurement = false;
            }
            ("ptp", _) => config.timestamps = wire::stamp::TimestampFormat::Ptp,
            ("count", n) => config.amount = Amount::Count(n.parse().expect("a count")),
            ("rate", n) => config.rate_pps = n.parse().expect("a rate"),
            ("padding", n) => config.padding = n.parse().expect("bytes"),
            (other, _) => panic!("unknown argument {other}"),
        }
    }
    config.classes = dscp
        .iter()
        .flat_map(|d| ecn.iter().map(|e| Tos::new(Dscp::new(*d).expect("0..=63"), Ecn::from_bits(*e))))
        .collect();
    let outcome = match run(&config, &AtomicBool::new(false), &mut |_| {}) {
        Ok(outcome) => outcome,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    let worker = WorkerName::from_host_name("example");
    let report = report(&worker, "1970-01-01T00:00:00Z".to_owned(), &outcome).expect("report");
    let all = serde_json::json!({ "report": report, "counters": outcome.counters, "reflector": outcome.reflector, "notes": outcome.notes });
    println!("{}", serde_json::to_string_pretty(&all).expect("JSON"));
}
