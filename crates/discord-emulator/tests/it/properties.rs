//! What must hold for any bytes whatever: DNS, voice UDP, and the JSON of bodies.

use std::net::SocketAddr;

use discord_emulator::config::Dns;
use discord_emulator::dns::Zones;
use discord_emulator::state::{Draft, Refusal, overwrite};
use discord_emulator::voice::discovery;
use discord_emulator::{Config, Handle, Snowflake};
use proptest::prelude::*;
use serde_json::{Map, Value};

/// A query for `gateway.discord.gg`, to be damaged.
const QUERY: &[u8] =
    b"\xbe\xef\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x07gateway\x07discord\x02gg\x00\x00\x01\x00\x01\
\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";

fn damaged(changes: Vec<(usize, u8)>, length: usize) -> Vec<u8> {
    let mut bytes = QUERY.to_vec();
    for (at, value) in changes {
        let at = at % bytes.len();
        bytes[at] = value;
    }
    bytes.truncate(length);
    bytes
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("type".to_owned()),
        Just("name".to_owned()),
        Just("content".to_owned()),
        Just("embeds".to_owned()),
        Just("components".to_owned()),
        Just("options".to_owned()),
        Just("id".to_owned()),
        Just("description".to_owned()),
        Just("accessory".to_owned()),
        "[a-z_]{1,6}",
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|pairs| { Value::Object(pairs.into_iter().collect::<Map<String, Value>>()) }),
        ]
    })
}

fn check_dns(query: &[u8]) {
    let zones = Zones::new(&Dns::default());
    let Some(answered) = zones.answer(query, true) else { return };
    assert_eq!(answered.bytes[..2], query[..2], "the id comes back");
    assert!(answered.bytes[2] & 0x80 != 0, "it is a response");
    assert!(answered.bytes.len() <= 1232);
    assert!(query[2] & 0x80 == 0, "responses are never answered: no loops");
    for no_such_name in [true, false] {
        assert!(answered.failed(no_such_name).is_some_and(|bytes| bytes[..2] == query[..2]));
    }
}

/// A world to throw bodies at.
fn world() -> (tokio::runtime::Runtime, discord_emulator::Emulator, Handle) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config::parse(crate::support::CONFIG, "test").unwrap();
    let emulator = runtime.block_on(discord_emulator::Emulator::start(config)).unwrap();
    let handle = emulator.handle();
    (runtime, emulator, handle)
}

proptest! {
    #[test]
    fn dns_survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check_dns(&bytes);
    }

    #[test]
    fn dns_survives_damaged_queries(
        changes in prop::collection::vec((0..QUERY.len(), any::<u8>()), 0..6),
        length in 0..=QUERY.len(),
    ) {
        check_dns(&damaged(changes, length));
    }

    #[test]
    fn voice_answers_nothing_but_requests(bytes in prop::collection::vec(any::<u8>(), 0..160)) {
        match discovery::parse_request(&bytes) {
            Some(ssrc) => prop_assert!(bytes.len() == 74 && bytes[..4] == [0, 1, 0, 70] && bytes[4..8] == ssrc.to_be_bytes()),
            None => prop_assert!(bytes.len() != 74 || bytes[..4] != [0, 1, 0, 70]),
        }
    }

    #[test]
    fn voice_answers_are_no_requests(ssrc in any::<u32>(), ip in any::<std::net::IpAddr>(), port in any::<u16>()) {
        let answer = discovery::response(ssrc, SocketAddr::new(ip, port));
        prop_assert_eq!(discovery::parse_request(&answer), None);
        prop_assert_eq!(answer[71], 0, "the address ends with a NUL");
    }

    #[test]
    fn message_bodies_are_taken_or_refused(body in json()) {
        if let Err(refusal) = Draft::parse(&body) {
            prop_assert_eq!(refusal.code, 50035);
        }
        let _ = overwrite(&body);
    }
}

#[test]
fn commands_and_channels_of_any_shape_are_taken_or_refused() {
    let (_runtime, _emulator, handle) = world();
    let (bot, guild) = (handle.user("reader").unwrap(), handle.guild("home").unwrap());
    let client_error = |result: Result<(), Refusal>| {
        if let Err(refusal) = result {
            assert!((400..500).contains(&refusal.status), "{refusal:?}");
        }
    };
    proptest!(|(body in json())| {
        handle.with_world(|world| {
            client_error(world.put_command(bot, Some(guild), &body).map(|_| ()));
            client_error(world.overwrite_commands(bot, None, &body).map(|_| ()));
            client_error(world.create_channel(bot, guild, &body).map(|_| ()));
            client_error(world.edit_channel(bot, Snowflake(1), &body));
        });
    });
}
