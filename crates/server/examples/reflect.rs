//! `reflect ADDRESS:PORT [key=HEX] [stateful] [seconds=N]`: reflects for so long, then prints its counters as JSON. For trying
//! the module by itself; people use `netlat reflect`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use server::reflect::{ReflectConfig, Reflector};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut config = ReflectConfig::new(net::Clock::from_env().expect("clock"));
    config.listen = arguments.next().expect("ADDRESS:PORT").parse().expect("an address");
    let mut seconds = 5;
    for argument in arguments {
        match argument.split_once('=').unwrap_or((&argument, "")) {
            ("key", hex) => {
                let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).expect("hex");
                config.key = Some(wire::stamp::StampKey::new(&bytes));
            }
            ("stateful", _) => config.stateful = true,
            ("seconds", n) => seconds = n.parse().expect("seconds"),
            (other, _) => panic!("unknown argument {other}"),
        }
    }
    let reflector = Reflector::bind(config).unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(1);
    });
    eprintln!("reflecting on {:?}", reflector.addresses());
    let (stop, counters) = (AtomicBool::new(false), reflector.counters());
    std::thread::scope(|scope| {
        scope.spawn(|| reflector.run(&stop));
        std::thread::sleep(Duration::from_secs(seconds));
        stop.store(true, Ordering::Relaxed);
    });
    println!("{}", serde_json::to_string(&counters.read()).expect("JSON"));
}
