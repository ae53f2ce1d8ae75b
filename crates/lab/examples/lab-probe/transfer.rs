//! A TCP transfer each way, to see that segments pass a delay line whole: large writes, offloaded checksums.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use lab::addresses;
use model::Family;

use crate::Result;

const PORT: u16 = 8621;
const PATIENCE: Duration = Duration::from_secs(20);

/// A pattern in which a lost, doubled or moved byte shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 + index / 251) as u8).collect()
}

/// Sends back what it gets, connection after connection.
pub(crate) fn server() -> Result<()> {
    let listeners = Family::ALL.map(|family| TcpListener::bind((addresses::server(family), PORT)));
    println!("ready");
    for listener in listeners {
        let (mut stream, _) = listener?.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        stream.write_all(&bytes)?;
    }
    Ok(())
}

/// Prints `family bytes intact|damaged`.
pub(crate) fn client(length: usize) -> Result<()> {
    let sent = pattern(length);
    for family in Family::ALL {
        let mut stream = TcpStream::connect((addresses::server(family), PORT))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&sent)?;
        stream.shutdown(Shutdown::Write)?;
        let mut received = Vec::new();
        stream.read_to_end(&mut received)?;
        println!("{family} {} {}", received.len(), if received == sent { "intact" } else { "damaged" });
    }
    Ok(())
}
