//! Whether a message of a worker's channel holds records, and whose: pure, so that scraping the same history again judges
//! the same.

use std::collections::BTreeMap;

use model::{Record, WorkerName};

use crate::batch::{Batch, NotABatch};
use crate::snowflake::Snowflake;
use crate::tokens::Workers;
use crate::types::Message;

#[derive(Clone, Debug, PartialEq)]
pub enum Judged {
    Records(Vec<Record>),
    /// Talk, system messages, whatever is no batch.
    Nothing,
    /// Left out, and counted under this name.
    Refused(&'static str),
    /// A known author's message without its content: the bot may not read it.
    Unreadable,
}

/// A record is not newer than its message by more than a host's clock may be wrong, and not older than a journal lasts.
const AHEAD_US: i64 = 600_000_000;
const BEHIND_US: i64 = 30 * 86_400_000_000;
/// Message types `DEFAULT` and `REPLY`.
const WRITTEN: [u8; 2] = [0, 19];

pub const FORGED: &str = "record_forged";
pub const EDITED: &str = "record_edited";
pub const MALFORMED: &str = "record_malformed";
pub const IMPLAUSIBLE: &str = "record_implausible";
pub const OTHER_VERSION: &str = "record_other_version";
pub const DELETED: &str = "record_deleted";

/// `worker` is whose channel it is in.
pub fn judge(message: &Message, worker: &WorkerName, authors: &BTreeMap<Snowflake, Workers>) -> Judged {
    if !WRITTEN.contains(&message.kind) {
        return Judged::Nothing;
    }
    // A webhook may carry any name and picture, but its author is its own id.
    let author = authors.get(&message.author.id).filter(|_| message.webhook_id.is_none());
    let is_bare = message.content.is_empty() && message.attachments == 0 && message.embeds == 0;
    if author.is_some() && is_bare {
        return Judged::Unreadable;
    }
    let batch = match Batch::read(&message.content) {
        Ok(batch) => batch,
        Err(NotABatch::Unmarked) => return Judged::Nothing,
        Err(_) if author.is_none() => return Judged::Refused(FORGED),
        Err(NotABatch::OtherVersion(_)) => return Judged::Refused(OTHER_VERSION),
        Err(NotABatch::Broken(_) | NotABatch::Invalid(_)) => return Judged::Refused(MALFORMED),
    };
    if batch.worker != *worker || !author.is_some_and(|author| author.include(worker)) {
        return Judged::Refused(FORGED);
    }
    // Bots never edit records, so what an edit left is not what was measured.
    if message.edited_timestamp.is_some() {
        return Judged::Refused(EDITED);
    }
    let posted_us = model::record::micros(message.id.time());
    let plausible = |at_us: i64| at_us <= posted_us + AHEAD_US && at_us >= posted_us - BEHIND_US;
    if !batch.records.iter().all(|entry| plausible(entry.measured.at_us)) {
        return Judged::Refused(IMPLAUSIBLE);
    }
    Judged::Records(batch.into_records())
}

#[cfg(test)]
mod tests {
    use model::{BootId, Instrument, Measurement, Metric, RecordId};

    use super::*;
    use crate::types::User;

    /// 2026-11-25 or so.
    const ID: Snowflake = Snowflake(375_500_000_000 << 22);

    fn name(text: &str) -> WorkerName {
        WorkerName::new(text).unwrap()
    }

    fn content(worker: &str, ahead_s: i64) -> String {
        let mut measured = Measurement::new(Metric::Rest, ID.time().plus(ahead_s * 1_000_000_000));
        measured.app_us = Some(5);
        let record = Record {
            id: RecordId { worker: name(worker), boot: BootId(1), counter: 1 },
            instrument: Instrument { library: "x".into(), language: "rust".into(), version: "1".into() },
            measured,
        };
        Batch::compose(&[record], 0).unwrap().0
    }

    fn message(author: u64, content: &str) -> Message {
        Message {
            id: ID,
            channel_id: Snowflake(1),
            guild_id: None,
            author: User { id: Snowflake(author), username: String::new(), bot: true },
            content: content.to_owned(),
            edited_timestamp: None,
            webhook_id: None,
            kind: 0,
            attachments: 0,
            embeds: 0,
            mentions: Vec::new(),
            member: None,
        }
    }

    fn judged(message: &Message) -> Judged {
        let authors = BTreeMap::from([
            (Snowflake(1), Workers::all()),
            (Snowflake(2), Workers { all: false, named: vec![name("ams1")] }),
        ]);
        judge(message, &name("nyc1"), &authors)
    }

    #[test]
    fn only_known_authors_speak_for_their_own_workers() {
        let text = content("nyc1", -5);
        assert!(matches!(judged(&message(1, &text)), Judged::Records(records) if records.len() == 1));
        assert_eq!(judged(&message(2, &text)), Judged::Refused(FORGED));
        assert_eq!(judged(&message(3, &text)), Judged::Refused(FORGED));
        assert_eq!(judged(&message(1, &content("ams1", -5))), Judged::Refused(FORGED));
        let webhook = Message { webhook_id: Some(Snowflake(1)), ..message(1, &text) };
        assert_eq!(judged(&webhook), Judged::Refused(FORGED));
    }

    #[test]
    fn edited_broken_and_implausible_messages_are_told_apart() {
        let text = content("nyc1", -5);
        let edited = Message { edited_timestamp: Some("2026-11-25T00:00:00Z".to_owned()), ..message(1, &text) };
        assert_eq!(judged(&edited), Judged::Refused(EDITED));
        assert_eq!(judged(&message(1, &text.replace("\"counter\":1", "\"counter\":-1"))), Judged::Refused(MALFORMED));
        assert_eq!(judged(&message(1, &text.replace("record/1", "record/9"))), Judged::Refused(OTHER_VERSION));
        assert_eq!(judged(&message(1, &content("nyc1", 3600))), Judged::Refused(IMPLAUSIBLE));
        assert_eq!(judged(&message(1, "hello")), Judged::Nothing);
        assert_eq!(judged(&Message { kind: 7, ..message(3, &text) }), Judged::Nothing);
    }

    #[test]
    fn a_known_authors_empty_message_means_a_missing_intent() {
        assert_eq!(judged(&message(1, "")), Judged::Unreadable);
        assert_eq!(judged(&message(3, "")), Judged::Nothing);
        assert_eq!(judged(&Message { embeds: 1, ..message(1, "") }), Judged::Nothing);
    }
}
