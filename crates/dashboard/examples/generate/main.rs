//! Fills a data directory for looking at the pages and for measuring them:
//! `cargo run -p dashboard --example generate -- DIR [CITIES HOURS PER-MINUTE ALL-CLASSES-HOURS]`

mod world;

use world::{Extent, generate};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(dir) = arguments.first() else {
        eprintln!("generate: give a directory, then numbers of cities, hours, probes a minute, hours of all classes");
        std::process::exit(2);
    };
    let number = |index: usize, default: i64| match arguments.get(index).map(|text| text.parse::<i64>()) {
        None => default,
        Some(Ok(number)) if number >= 0 => number,
        Some(_) => {
            eprintln!("generate: {} is no number", arguments[index]);
            std::process::exit(2);
        }
    };
    let extent = Extent {
        cities: number(1, 8) as usize,
        minutes: number(2, 12) * 60,
        per_minute: number(3, 3).max(1) as u32,
        all_classes_minutes: number(4, 1) * 60,
    };
    match generate(std::path::Path::new(dir), net::Clock::identity().now(), extent) {
        Ok(samples) => println!("{samples} samples in {dir}"),
        Err(error) => {
            eprintln!("generate: {error}");
            std::process::exit(1);
        }
    }
}
