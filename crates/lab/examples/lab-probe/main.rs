//! Sends packets through a lab and prints what comes out, for the lab's tests. It knows nothing of the expected result.
//!
//!     lab-probe run SCENARIO PLACE PROGRAM [ARG...]     a program in a place (server, CITY, CITY.hop1, CITY.relay)
//!     lab-probe marks SCENARIO [CITY...]                every mark, both ways, both families: lines of `Tally`
//!     lab-probe sample SCENARIO CITY COUNT DSCP,...     COUNT packets of each of these marks
//!     lab-probe path SCENARIO CITY                      who answers when the TTL ends, and the mark it quotes
//!     lab-probe transfer SCENARIO CITY BYTES            a TCP transfer each way in both families
//!     lab-probe order SCENARIO CITY COUNT               numbers of UDP packets as they arrive at the server
//!     lab-probe drop SCENARIO                           starts a process in each city, drops the lab, tells what is left
//!     lab-probe hold SCENARIO TOKEN                     builds the lab, starts a process in each city, waits for ever

mod frames;
mod roles;
mod transfer;

use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};

use lab::{Lab, Place, RelayProgram, Scenario};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("lab-probe: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<u8> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["as-server", city] => roles::server(city)?,
        ["as-worker", protocols, count, dscp] => roles::worker(protocols, count.parse()?, dscp)?,
        ["as-path", hops] => roles::path(hops.parse()?)?,
        ["as-sink"] => transfer::server()?,
        ["as-source", bytes] => transfer::client(bytes.parse()?)?,
        ["as-order-server"] => roles::order_server()?,
        ["as-order-worker", count] => roles::order_worker(count.parse()?)?,
        [mode, scenario, ref rest @ ..] => {
            lab::enter()?;
            let lab = Lab::up(&Scenario::read(Path::new(scenario))?, &relay_program()?)?;
            for warning in lab.warnings() {
                eprintln!("warning: {warning}");
            }
            if mode == "drop" {
                return drop_with_processes(lab);
            }
            let code = inside(mode, &lab, rest)?;
            for (city, counts) in lab.down() {
                eprintln!("relay {city} up {:?} down {:?}", counts.up, counts.down);
            }
            return Ok(code);
        }
        _ => return Err("usage: see the head of lab-probe's source".into()),
    }
    Ok(0)
}

/// `lab-relay` stands in the directory above the examples' own, or where LAB_RELAY says.
fn relay_program() -> Result<RelayProgram> {
    let program = match env::var_os("LAB_RELAY") {
        Some(path) => PathBuf::from(path),
        None => env::current_exe()?.with_file_name("../lab-relay"),
    };
    Ok(RelayProgram { program, arguments: Vec::new() })
}

fn inside(mode: &str, lab: &Lab, rest: &[&str]) -> Result<u8> {
    match (mode, rest) {
        ("run", [place, program, arguments @ ..]) => {
            let status = lab.command(place_of(place)?, program)?.args(arguments).status()?;
            return Ok(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1));
        }
        ("marks", cities) => {
            for city in &lab.scenario().cities {
                if cities.is_empty() || cities.contains(&city.name.as_str()) {
                    measure(lab, &city.name, &["as-worker", "udp,tcp,icmp", "1", "all"])?;
                }
            }
        }
        ("sample", [city, count, dscp]) => measure(lab, city, &["as-worker", "udp", count, dscp])?,
        ("path", [city]) => {
            let hops = lab.scenario().city(city).map_or(0, |city| city.hops.len()).to_string();
            check(&mut role(lab, Place::City(city), &["as-path", &hops])?)?;
        }
        ("transfer", [city, bytes]) => {
            let mut server = role(lab, Place::Server, &["as-sink"])?;
            wait_ready(&mut server)?;
            check(&mut role(lab, Place::City(city), &["as-source", bytes])?)?;
            server.kill()?;
            server.wait()?;
        }
        ("order", [city, count]) => {
            let mut server = role(lab, Place::Server, &["as-order-server"])?;
            let mut out = wait_ready(&mut server)?;
            check(&mut role(lab, Place::City(city), &["as-order-worker", count])?)?;
            std::io::copy(&mut out, &mut std::io::stdout())?;
            check(&mut server)?;
        }
        ("hold", [token]) => {
            let mut children = Vec::new();
            for city in &lab.scenario().cities {
                let mut command = lab.command(Place::City(&city.name), "sh")?;
                children.push(command.args(["-c", "sleep 1000 & wait", token]).spawn()?);
            }
            println!("holding");
            for mut child in children {
                child.wait()?;
            }
        }
        _ => return Err("usage: see the head of lab-probe's source".into()),
    }
    Ok(0)
}

/// What a drop leaves of processes that would go on for a minute, and of namespaces.
fn drop_with_processes(lab: Lab) -> Result<u8> {
    let mut children = Vec::new();
    for city in &lab.scenario().cities {
        let child = lab.command(Place::City(&city.name), "sleep")?.arg("60").spawn()?;
        children.push((city.name.clone(), child));
    }
    drop(lab);
    for (city, mut child) in children {
        println!("{city} {}", child.wait()?);
    }
    println!("namespaces left: {}", std::fs::read_dir("/run/netns")?.count());
    Ok(0)
}

fn measure(lab: &Lab, city: &str, worker: &[&str]) -> Result<()> {
    let mut server = role(lab, Place::Server, &["as-server", city])?;
    let mut out = wait_ready(&mut server)?;
    let mut worker = role(lab, Place::City(city), worker)?;
    let mut tallies = String::new();
    let mut lines = BufReader::new(worker.stdout.take().ok_or("no output")?);
    while lines.read_line(&mut tallies)? > 0 {}
    check(&mut worker)?;
    // The server tells its own when its input ends.
    drop(server.stdin.take());
    while out.read_line(&mut tallies)? > 0 {}
    check(&mut server)?;
    let text: String = tallies.lines().map(|line| format!("{city} {line}\n")).collect();
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn role(lab: &Lab, place: Place<'_>, arguments: &[&str]) -> Result<Child> {
    let mut command = lab.command(place, env::current_exe()?)?;
    command.args(arguments);
    let piped =
        arguments.first().is_some_and(|role| ["as-server", "as-worker", "as-sink", "as-order-server"].contains(role));
    if piped {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
    }
    Ok(command.spawn()?)
}

fn wait_ready(child: &mut Child) -> Result<BufReader<std::process::ChildStdout>> {
    let mut out = BufReader::new(child.stdout.take().ok_or("no output")?);
    let mut line = String::new();
    out.read_line(&mut line)?;
    if line.trim() == "ready" { Ok(out) } else { Err(format!("a role said '{}' instead of ready", line.trim()).into()) }
}

fn check(child: &mut Child) -> Result<()> {
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("a role failed: {status}").into()) }
}

fn place_of(text: &str) -> Result<Place<'_>> {
    Ok(match text.split_once('.') {
        None if text == "server" => Place::Server,
        None => Place::City(text),
        Some((city, "relay")) => Place::Relay(city),
        Some((city, hop)) => Place::Hop(city, hop.strip_prefix("hop").ok_or("not a place")?.parse()?),
    })
}
