//! The promises of `fuzz/src/lib.rs` under proptest: on random bytes, and on real packets that were cut and altered.

#[path = "../../../fuzz/src/lib.rs"]
#[allow(unreachable_pub)]
mod promises;

use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Packets of every family, so that alterations reach behind the first checks.
static PACKETS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let vectors = include_str!("golden/vectors.txt").lines().map(|line| {
        let (_, digits) = line.split_once(' ').expect("a name and digits");
        data_encoding::HEXLOWER.decode(digits.as_bytes()).expect("digits")
    });
    let texts = [
        "GET /p/7upraqmgntop4obad3bp2cb6ucwg5ipy2kvellvp5ibnu HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nVia: a\r\nContent-Length: 45\r\n\r\n7upraqmgntop4obad3bp2cb6ucwg5ipy2kvellvp5ibnu",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2d\r\n7upraqmgntop4obad3bp2cb6ucwg5ipy2kvellvp5ibnu\r\n0\r\n\r\n",
    ];
    vectors.chain(texts.map(|text| text.as_bytes().to_vec())).collect()
});

#[derive(Clone, Debug)]
enum Alteration {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Cut(Index),
}

impl Alteration {
    fn apply(&self, packet: &mut Vec<u8>) {
        let place = |index: &Index| index.index(packet.len() + 1);
        match self {
            Alteration::Set(index, byte) => {
                let place = place(index);
                packet.get_mut(place).into_iter().for_each(|there| *there = *byte);
            }
            Alteration::Flip(index, bit) => {
                let place = place(index);
                packet.get_mut(place).into_iter().for_each(|there| *there ^= 1 << bit);
            }
            Alteration::Insert(index, bytes) => {
                let place = place(index);
                packet.splice(place..place, bytes.iter().copied());
            }
            Alteration::Remove(index, count) => {
                let place = place(index);
                packet.drain(place..packet.len().min(place + count));
            }
            Alteration::Cut(index) => packet.truncate(place(index)),
        }
    }
}

fn alteration() -> impl Strategy<Value = Alteration> {
    let index = any::<Index>;
    prop_oneof![
        4 => (index(), any::<u8>()).prop_map(|(index, byte)| Alteration::Set(index, byte)),
        4 => (index(), 0..8u8).prop_map(|(index, bit)| Alteration::Flip(index, bit)),
        1 => (index(), vec(any::<u8>(), 1..9)).prop_map(|(index, bytes)| Alteration::Insert(index, bytes)),
        1 => (index(), 1..9usize).prop_map(|(index, count)| Alteration::Remove(index, count)),
        1 => index().prop_map(Alteration::Cut),
    ]
}

fn altered_packet() -> impl Strategy<Value = Vec<u8>> {
    (select(PACKETS.as_slice()), vec(alteration(), 0..6)).prop_map(|(mut packet, alterations)| {
        alterations.iter().for_each(|alteration| alteration.apply(&mut packet));
        packet
    })
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![1 => vec(any::<u8>(), 0..300), 3 => altered_packet()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rtp_and_control_keep_their_promises(bytes in bytes()) {
        promises::rtp_control(&bytes);
    }

    #[test]
    fn tokens_and_dns_keep_their_promises(bytes in bytes()) {
        promises::token_dns(&bytes);
    }

    #[test]
    fn http_keeps_its_promises(bytes in bytes()) {
        promises::http(&bytes);
    }

    #[test]
    fn tls_keeps_its_promises(bytes in bytes()) {
        promises::tls(&bytes);
    }

    #[test]
    fn stamp_keeps_its_promises(bytes in bytes()) {
        promises::stamp(&bytes);
    }

    #[test]
    fn icmp_and_frames_keep_their_promises(bytes in bytes()) {
        promises::icmp_frame(&bytes);
    }
}

/// Unaltered, and cut at every place: what random alterations may not happen to try.
#[test]
fn every_beginning_of_every_packet_keeps_every_promise() {
    for packet in PACKETS.iter() {
        for len in 0..=packet.len() {
            let packet = &packet[..len];
            promises::rtp_control(packet);
            promises::token_dns(packet);
            promises::http(packet);
            promises::tls(packet);
            promises::stamp(packet);
            promises::icmp_frame(packet);
        }
    }
}
