//! What the gateway says, read leniently: an event this crate does not use, or cannot read, is no reason to stop.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::types::{
    Channel, Interaction, Message, MessageDelete, MessageDeleteBulk, MessageUpdate, Ready, VoiceServer, VoiceState,
};

#[derive(Clone, Debug)]
pub enum Event {
    Ready(Box<Ready>),
    Resumed,
    MessageCreate(Box<Message>),
    MessageUpdate(MessageUpdate),
    MessageDelete(MessageDelete),
    MessageDeleteBulk(MessageDeleteBulk),
    ChannelCreate(Box<Channel>),
    InteractionCreate(Box<Interaction>),
    VoiceStateUpdate(Box<VoiceState>),
    VoiceServerUpdate(Box<VoiceServer>),
}

/// A frame as far as this crate reads it.
#[derive(Clone, Debug)]
pub(crate) enum Frame {
    Hello {
        heartbeat_interval_ms: u64,
    },
    HeartbeatAck,
    /// `resumable` as Discord says it.
    InvalidSession {
        resumable: bool,
    },
    Reconnect,
    Event(Box<Event>),
    Other,
    /// An event of a kind this crate uses that did not have its shape.
    Unreadable(&'static str),
}

#[derive(Deserialize)]
struct Raw<'a> {
    op: u8,
    #[serde(borrow, default)]
    t: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    d: Option<&'a RawValue>,
}

pub(crate) fn read(text: &str) -> Frame {
    let Ok(raw) = serde_json::from_str::<Raw<'_>>(text) else { return Frame::Unreadable("frame") };
    let data = raw.d.map_or("null", RawValue::get);
    match raw.op {
        0 => dispatch(raw.t.as_deref().unwrap_or_default(), data),
        7 => Frame::Reconnect,
        9 => Frame::InvalidSession { resumable: data.trim() == "true" },
        10 => {
            #[derive(Deserialize)]
            struct Hello {
                heartbeat_interval: u64,
            }
            match serde_json::from_str::<Hello>(data) {
                Ok(hello) => Frame::Hello { heartbeat_interval_ms: hello.heartbeat_interval },
                Err(_) => Frame::Unreadable("Hello"),
            }
        }
        11 => Frame::HeartbeatAck,
        _ => Frame::Other,
    }
}

fn dispatch(name: &str, data: &str) -> Frame {
    fn parsed<'a, T: Deserialize<'a>>(data: &'a str, name: &'static str, make: impl FnOnce(T) -> Event) -> Frame {
        match serde_json::from_str(data) {
            Ok(value) => Frame::Event(Box::new(make(value))),
            Err(_) => Frame::Unreadable(name),
        }
    }
    match name {
        "READY" => parsed(data, "READY", |ready| Event::Ready(Box::new(ready))),
        "RESUMED" => Frame::Event(Box::new(Event::Resumed)),
        "MESSAGE_CREATE" => parsed(data, "MESSAGE_CREATE", |message| Event::MessageCreate(Box::new(message))),
        "MESSAGE_UPDATE" => parsed(data, "MESSAGE_UPDATE", Event::MessageUpdate),
        "MESSAGE_DELETE" => parsed(data, "MESSAGE_DELETE", Event::MessageDelete),
        "MESSAGE_DELETE_BULK" => parsed(data, "MESSAGE_DELETE_BULK", Event::MessageDeleteBulk),
        "CHANNEL_CREATE" => parsed(data, "CHANNEL_CREATE", |channel| Event::ChannelCreate(Box::new(channel))),
        "INTERACTION_CREATE" => parsed(data, "INTERACTION_CREATE", |it| Event::InteractionCreate(Box::new(it))),
        "VOICE_STATE_UPDATE" => parsed(data, "VOICE_STATE_UPDATE", |it| Event::VoiceStateUpdate(Box::new(it))),
        "VOICE_SERVER_UPDATE" => parsed(data, "VOICE_SERVER_UPDATE", |it| Event::VoiceServerUpdate(Box::new(it))),
        _ => Frame::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_the_reference_are_read() {
        assert!(matches!(
            read(r#"{"op": 10, "d": {"heartbeat_interval": 45000}}"#),
            Frame::Hello { heartbeat_interval_ms: 45000 }
        ));
        assert!(matches!(read(r#"{"op": 11}"#), Frame::HeartbeatAck));
        assert!(matches!(read(r#"{"op": 9, "d": false}"#), Frame::InvalidSession { resumable: false }));
        assert!(matches!(read(r#"{"op": 7, "d": null}"#), Frame::Reconnect));
        let delete = r#"{"op":0,"s":3,"t":"MESSAGE_DELETE","d":{"id":"5","channel_id":"6","guild_id":"7"}}"#;
        let Frame::Event(event) = read(delete) else { panic!("an event") };
        assert!(matches!(*event, Event::MessageDelete(MessageDelete { id, .. }) if id.0 == 5));
    }

    #[test]
    fn garbage_is_named_and_nothing_worse() {
        assert!(matches!(read("{"), Frame::Unreadable("frame")));
        assert!(matches!(read(r#"{"op":0,"t":"MESSAGE_CREATE","d":[]}"#), Frame::Unreadable("MESSAGE_CREATE")));
        assert!(matches!(read(r#"{"op":0,"t":"GUILD_SOUNDBOARD_SOUND_CREATE","d":7}"#), Frame::Other));
        assert!(matches!(read(r#"{"op":0}"#), Frame::Other));
    }
}
