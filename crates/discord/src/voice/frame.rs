//! What a voice gateway (version 8) says and is told (reference, "Voice Connections"): JSON, and the binary frames of end-to-end
//! encryption (DAVE), of which only numbers are read here.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::snowflake::Snowflake;

/// A frame as far as it is read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Frame {
    Hello {
        heartbeat_interval_ms: f64,
    },
    Ready {
        ssrc: u32,
        ip: std::net::IpAddr,
        port: u16,
        modes: Vec<String>,
    },
    SessionDescription {
        dave_version: u16,
    },
    Acknowledged {
        nonce: u64,
    },
    Resumed,
    /// A group of encrypted callers begins anew: it asks for a key package.
    PrepareEpoch {
        epoch: u64,
        dave_version: u16,
    },
    Other,
}

/// A frame and its number, which the next heartbeat acknowledges.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Numbered {
    pub(super) frame: Frame,
    pub(super) sequence: Option<i64>,
}

/// `None` if it is not understood.
pub(super) fn read_text(text: &str) -> Option<Numbered> {
    #[derive(Deserialize)]
    struct Raw {
        op: u8,
        #[serde(default)]
        seq: Option<i64>,
        #[serde(default)]
        d: Value,
    }
    #[derive(Deserialize)]
    struct Hello {
        heartbeat_interval: f64,
    }
    #[derive(Deserialize)]
    struct Ready {
        ssrc: u32,
        ip: std::net::IpAddr,
        port: u16,
        #[serde(default)]
        modes: Vec<String>,
    }
    #[derive(Deserialize)]
    struct Description {
        #[serde(default)]
        dave_protocol_version: u16,
    }
    #[derive(Deserialize)]
    struct Ack {
        t: u64,
    }
    #[derive(Deserialize)]
    struct Epoch {
        epoch: u64,
        #[serde(default)]
        protocol_version: u16,
    }
    fn data<T: serde::de::DeserializeOwned>(value: Value) -> Option<T> {
        serde_json::from_value(value).ok()
    }
    let raw: Raw = serde_json::from_str(text).ok()?;
    let frame = match raw.op {
        2 => data(raw.d).map(|Ready { ssrc, ip, port, modes }| Frame::Ready { ssrc, ip, port, modes })?,
        4 => Frame::SessionDescription { dave_version: data::<Description>(raw.d)?.dave_protocol_version },
        6 => Frame::Acknowledged { nonce: data::<Ack>(raw.d)?.t },
        8 => Frame::Hello { heartbeat_interval_ms: data::<Hello>(raw.d)?.heartbeat_interval },
        9 => Frame::Resumed,
        24 => data(raw.d)
            .map(|Epoch { epoch, protocol_version }| Frame::PrepareEpoch { epoch, dave_version: protocol_version })?,
        _ => Frame::Other,
    };
    Some(Numbered { frame, sequence: raw.seq })
}

/// Binary frames from the server begin with a 16-bit number.
pub(super) fn read_binary(bytes: &[u8]) -> Numbered {
    let sequence = bytes.get(..2).map(|number| i64::from(u16::from_be_bytes([number[0], number[1]])));
    Numbered { frame: Frame::Other, sequence }
}

/// Who joins, and with what.
#[derive(Clone)]
pub(crate) struct Admission {
    pub(super) guild: Snowflake,
    pub(super) channel: Snowflake,
    pub(super) user: Snowflake,
    pub(super) session_id: String,
    /// A secret.
    pub(super) token: String,
}

pub(super) fn identify(admission: &Admission) -> String {
    let d = json!({
        "server_id": admission.guild,
        "user_id": admission.user,
        "session_id": admission.session_id,
        "token": admission.token,
        "max_dave_protocol_version": davey::DAVE_PROTOCOL_VERSION,
    });
    json!({ "op": 0, "d": d }).to_string()
}

pub(super) fn resume(admission: &Admission, sequence: i64) -> String {
    let d = json!({
        "server_id": admission.guild,
        "session_id": admission.session_id,
        "token": admission.token,
        "seq_ack": sequence,
    });
    json!({ "op": 7, "d": d }).to_string()
}

pub(super) fn select_protocol(address: std::net::IpAddr, port: u16, mode: &str) -> String {
    let data = json!({ "address": address, "port": port, "mode": mode });
    json!({ "op": 1, "d": { "protocol": "udp", "data": data } }).to_string()
}

pub(super) fn heartbeat(nonce: u64, sequence: i64) -> String {
    json!({ "op": 3, "d": { "t": nonce, "seq_ack": sequence } }).to_string()
}

/// Op 26 of DAVE: this caller's key package.
pub(super) fn key_package(package: &[u8]) -> Vec<u8> {
    let mut bytes = vec![26];
    bytes.extend_from_slice(package);
    bytes
}

/// The gateway's op 4: enter a channel, or leave (`None`).
pub(crate) fn voice_state(guild: Snowflake, channel: Option<Snowflake>) -> String {
    let d = json!({ "guild_id": guild, "channel_id": channel, "self_mute": true, "self_deaf": true });
    json!({ "op": 4, "d": d }).to_string()
}

/// The preferred mode among those offered; the required one where none is known.
pub(super) fn mode(offered: &[String]) -> &'static str {
    const PREFERRED: &str = "aead_aes256_gcm_rtpsize";
    const REQUIRED: &str = "aead_xchacha20_poly1305_rtpsize";
    if offered.iter().any(|mode| mode == PREFERRED) { PREFERRED } else { REQUIRED }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames as Discord's reference prints them.
    #[test]
    fn the_references_frames_are_read() {
        let read = |text: &str| read_text(text).map(|numbered| numbered.frame);
        assert_eq!(
            read(r#"{"op":8,"d":{"v":8,"heartbeat_interval":41250}}"#),
            Some(Frame::Hello { heartbeat_interval_ms: 41250.0 })
        );
        let ready = r#"{"op":2,"d":{"ssrc":1,"ip":"127.0.0.1","port":1234,"modes":["aead_aes256_gcm_rtpsize"],"heartbeat_interval":1}}"#;
        assert!(matches!(read(ready), Some(Frame::Ready { ssrc: 1, port: 1234, .. })));
        assert_eq!(read(r#"{"op":6,"d":{"t":1501184119561}}"#), Some(Frame::Acknowledged { nonce: 1501184119561 }));
        assert_eq!(read_text(r#"{"op":5,"d":{},"seq":10}"#).and_then(|numbered| numbered.sequence), Some(10));
        assert_eq!(read_binary(&[0x01, 0x02, 25, 9]).sequence, Some(258));
    }

    #[test]
    fn garbage_is_not_understood_and_nothing_worse() {
        for bad in ["", "{", "[]", r#"{"op":2,"d":{"ssrc":-1}}"#, r#"{"op":8,"d":null}"#, r#"{"op":6}"#] {
            assert_eq!(read_text(bad), None, "{bad}");
        }
        assert_eq!(read_binary(&[1]).sequence, None);
    }
}
