//! Halves that wait across a restart for their other halves.

use model::SessionId;
use model::control::{ReceivedColumns, SentColumns};
use rusqlite::{Connection, Row, Transaction, params};

use crate::commit::{Halves, PendingHalves};
use crate::error::{StoreError, bad_column};
use crate::pack::{self, Packer};
use crate::sessions::direction;
use crate::store::Store;

/// Codes of the column `side`.
const SENT: u8 = 0;
const RECEIVED: u8 = 1;

impl Store {
    /// In the order in which they were added.
    pub fn pending(&self) -> Result<Vec<PendingHalves>, StoreError> {
        self.read("read the halves that wait", all)
    }
}

pub(crate) fn add(db: &Transaction<'_>, pending: &PendingHalves) -> rusqlite::Result<()> {
    let mut packer = Packer::default();
    let (side, max_sequence) = match &pending.halves {
        Halves::Sent(halves) => {
            halves.iter().for_each(|half| packer.push(&pack::of_sent(half)));
            (SENT, halves.iter().map(|half| half.sequence).max())
        }
        Halves::Received(halves) => {
            halves.iter().for_each(|half| packer.push(&pack::of_received(half)));
            (RECEIVED, halves.iter().map(|half| half.sequence).max())
        }
    };
    let Some(max_sequence) = max_sequence else { return Ok(()) };
    db.prepare_cached("INSERT INTO pending (session, direction, side, max_sequence, bytes) VALUES (?, ?, ?, ?, ?)")?
        .execute(params![pending.session.0, pending.direction as u8, side, max_sequence, packer.bytes()])
        .map(drop)
}

fn all(db: &Connection) -> rusqlite::Result<Vec<PendingHalves>> {
    db.prepare("SELECT session, direction, side, bytes FROM pending ORDER BY id")?
        .query_map([], |row| {
            Ok(PendingHalves { session: SessionId(row.get(0)?), direction: direction(row, 1)?, halves: halves(row)? })
        })?
        .collect()
}

fn halves(row: &Row<'_>) -> rusqlite::Result<Halves> {
    let (side, bytes) = (row.get(2)?, row.get_ref(3)?.as_blob()?);
    if bytes.first() == Some(&b'{') {
        return columns(side, bytes);
    }
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    let unpacked = match side {
        SENT => pack::unpack(bytes, |sample| sent.push(pack::to_sent(sample))),
        RECEIVED => pack::unpack(bytes, |sample| received.push(pack::to_received(sample))),
        side => return Err(bad_column(2, format!("side {side}"))),
    };
    unpacked.map_err(|damage| bad_column(3, damage))?;
    Ok(if side == SENT { Halves::Sent(sent) } else { Halves::Received(received) })
}

/// The messages' own columns in JSON: what was kept before schema 3.
fn columns(side: u8, bytes: &[u8]) -> rusqlite::Result<Halves> {
    let json = |error: serde_json::Error| bad_column(3, error);
    match side {
        SENT => {
            let columns: SentColumns = serde_json::from_slice(bytes).map_err(json)?;
            columns.halves().map(Halves::Sent).map_err(|error| bad_column(3, error))
        }
        RECEIVED => {
            let columns: ReceivedColumns = serde_json::from_slice(bytes).map_err(json)?;
            columns.halves().map(Halves::Received).map_err(|error| bad_column(3, error))
        }
        side => Err(bad_column(2, format!("side {side}"))),
    }
}
