//! RTP, control and token: their bytes against an independent AES-GCM and AES, and what becomes of altered ones.

use crate::common::{
    SEQUENCE, SESSION, dirty, hex, key, mask, reply, reply_key, request, vector, with_one_bit_flipped,
};
use wire::control::{CONTROL_MIN_LEN, build_control, open_control, peek_control};
use wire::rtp::{RTP_MIN_LEN, RtpExtension, RtpHeader, build_rtp, open_rtp, peek_rtp};
use wire::token::{open_token, peek_token, seal_token};
use wire::{Peeked, ProbeFlags, ProbeHeader, SEQUENCE_MAX, WireError};

const PEEKED: Peeked = Peeked { session: SESSION, sequence: SEQUENCE };

#[test]
fn rtp_is_laid_out_as_discord_s_clients_do() {
    for (name, header, len) in [("rtp_48", request(), 48), ("rtp_172_reply", reply(), 172)] {
        let mut out = dirty();
        build_rtp(&mut out, SESSION, &header, len, &key()).unwrap();
        assert_eq!(out, vector(name), "{name}");
        assert_eq!(peek_rtp(&out), Ok(PEEKED));
        assert_eq!(open_rtp(&mut out, &key()), Ok(header));
    }
}

#[test]
fn control_is_laid_out_as_written() {
    for (name, header, len) in [("control_48", request(), 48), ("control_172_reply", reply(), 172)] {
        let mut out = dirty();
        build_control(&mut out, SESSION, &header, len, &key(), &mask()).unwrap();
        assert_eq!(out, vector(name), "{name}");
        assert_eq!(peek_control(&out, &mask()), Ok(PEEKED));
        assert_eq!(open_control(&mut out, &PEEKED, &key()), Ok(header));
    }
}

#[test]
fn tokens_are_laid_out_as_written() {
    let short = |header: ProbeHeader| ProbeHeader { in_reply_to: None, sent_at_ns: 0, ..header };
    for (name, header, key) in [("token", request(), key()), ("token_reply", reply(), reply_key())] {
        let token = seal_token(SESSION, &header, &key, &mask());
        assert_eq!(token.to_vec(), vector(name), "{name}");
        assert_eq!(peek_token(&token, &mask()), PEEKED);
        assert_eq!(open_token(&token, &PEEKED, &key), Ok(short(header)));
    }
    let token = vector("token").try_into().unwrap();
    let text = wire::base32::encode_token(&token);
    assert_eq!(text.to_vec(), vector("token_text"));
    assert_eq!(wire::base32::decode_token(&text), Some(token));
    assert_eq!(wire::base32::decode_token(&text.to_ascii_uppercase()), Some(token));
    assert_eq!(wire::base32::decode_token(&text[..44]), None);
    // 28 bytes leave one bit over: the last character of a token's text is every second one.
    let mut spare_bit = text;
    spare_bit[44] += 1;
    assert_eq!(wire::base32::decode_token(&spare_bit), None);
}

#[test]
fn one_flipped_bit_is_never_accepted() {
    for changed in with_one_bit_flipped(&vector("rtp_48")) {
        let result = open_rtp(&mut changed.clone(), &key());
        assert!(matches!(result, Err(WireError::Forged | WireError::Malformed)), "{changed:02x?}: {result:?}");
    }
    for changed in with_one_bit_flipped(&vector("control_48")) {
        let peeked = peek_control(&changed, &mask()).unwrap();
        assert_eq!(open_control(&mut changed.clone(), &peeked, &key()), Err(WireError::Forged), "{changed:02x?}");
        // Nor for a server that takes the session for granted.
        if changed[..8] == vector("control_48")[..8] {
            assert_eq!(open_control(&mut changed.clone(), &PEEKED, &key()), Err(WireError::Forged));
        }
    }
    for changed in with_one_bit_flipped(&vector("token")) {
        let changed: [u8; 28] = changed.try_into().unwrap();
        let peeked = peek_token(&changed, &mask());
        assert_eq!(open_token(&changed, &peeked, &key()), Err(WireError::Forged), "{changed:02x?}");
    }
}

#[test]
fn a_cut_packet_is_never_accepted() {
    for len in 0..172 {
        let (mut rtp, mut control) = (vector("rtp_172_reply"), vector("control_172_reply"));
        rtp.truncate(len);
        control.truncate(len);
        assert!(open_rtp(&mut rtp, &key()).is_err(), "{len}");
        match peek_control(&control, &mask()) {
            Ok(peeked) => assert_eq!(open_control(&mut control, &peeked, &key()), Err(WireError::Forged), "{len}"),
            Err(error) => assert!(len < CONTROL_MIN_LEN && error == WireError::Truncated, "{len}"),
        }
    }
}

#[test]
fn the_other_direction_s_key_opens_nothing() {
    assert_eq!(open_rtp(&mut vector("rtp_48"), &reply_key()), Err(WireError::Forged));
    assert_eq!(open_control(&mut vector("control_48"), &PEEKED, &reply_key()), Err(WireError::Forged));
    assert_eq!(open_token(&vector("token").try_into().unwrap(), &PEEKED, &reply_key()), Err(WireError::Forged));
}

#[test]
fn sizes_and_sequences_have_bounds() {
    let mut out = dirty();
    let top = ProbeHeader { sequence: SEQUENCE_MAX, ..request() };
    let beyond = ProbeHeader { sequence: SEQUENCE_MAX + 1, ..request() };
    let answers_nothing = ProbeHeader { in_reply_to: Some(u32::MAX), ..request() };
    assert_eq!((RTP_MIN_LEN, CONTROL_MIN_LEN), (48, 48));
    for (header, len, expected) in [
        (request(), 47, Err(WireError::TooShort)),
        (request(), 0, Err(WireError::TooShort)),
        (request(), 65_507, Ok(())),
        (request(), 65_508, Err(WireError::Unsupported)),
        (top, 48, Ok(())),
        (beyond, 48, Err(WireError::Unsupported)),
        (answers_nothing, 48, Err(WireError::Unsupported)),
    ] {
        let len_if_built = if expected.is_ok() { len } else { 0 };
        assert_eq!(build_rtp(&mut out, SESSION, &header, len, &key()), expected, "{len}");
        assert_eq!(out.len(), len_if_built);
        assert_eq!(build_control(&mut out, SESSION, &header, len, &key(), &mask()), expected, "{len}");
        assert_eq!(out.len(), len_if_built);
    }
    build_rtp(&mut out, SESSION, &top, 48, &key()).unwrap();
    assert_eq!(open_rtp(&mut out, &key()), Ok(top));
}

#[test]
fn rtp_s_own_counters_must_agree_with_the_nonce() {
    // A packet of real voice: its RTP sequence and its nonce began at different random values.
    let mut voice = vector("rtp_48");
    voice[3] ^= 1;
    assert_eq!(peek_rtp(&voice), Err(WireError::Malformed));
    for (place, byte) in [(0, 0x90), (1, 0xf8), (4, 0)] {
        let mut other = vector("rtp_48");
        other[place] = byte;
        assert_eq!(peek_rtp(&other), Err(WireError::Malformed), "{place}");
    }
    // 20 ms at 48 kHz, modulo 2^32.
    let mut out = dirty();
    let header = ProbeHeader { sequence: 4_473_925, ..request() };
    build_rtp(&mut out, SESSION, &header, 48, &key()).unwrap();
    assert_eq!(out[2..8], hex("4445 000002c0"));
}

#[test]
fn another_version_is_not_guessed_at() {
    assert_eq!(open_rtp(&mut vector("rtp_version_2"), &key()), Err(WireError::Unsupported));
    assert_eq!(open_control(&mut vector("control_version_2"), &PEEKED, &key()), Err(WireError::Unsupported));
    let token = vector("token_version_2").try_into().unwrap();
    assert_eq!(open_token(&token, &PEEKED, &key()), Err(WireError::Unsupported));
}

#[test]
fn what_pads_a_packet_does_not_matter() {
    assert_eq!(open_rtp(&mut vector("rtp_172_reply_padded_otherwise"), &key()), Ok(reply()));
}

/// What a classifier could learn by looking: nothing, at any place of the packet.
#[test]
fn no_byte_of_a_control_packet_or_token_is_predictable() {
    let mut seen = vec![[false; 256]; 48];
    let mut seen_in_tokens = vec![[false; 256]; 28];
    let mut out = Vec::new();
    for sequence in 0..512 {
        let header = ProbeHeader { sequence, ..request() };
        build_control(&mut out, SESSION, &header, 48, &key(), &mask()).unwrap();
        out.iter().zip(&mut seen).for_each(|(&byte, seen)| seen[usize::from(byte)] = true);
        let token = seal_token(SESSION, &header, &key(), &mask());
        token.iter().zip(&mut seen_in_tokens).for_each(|(&byte, seen)| seen[usize::from(byte)] = true);
    }
    for (place, seen) in seen.iter().chain(&seen_in_tokens).enumerate() {
        // 512 random bytes take 221 of the 256 values, give or take 5.
        let values = seen.iter().filter(|&&seen| seen).count();
        assert!((190..=250).contains(&values), "byte {place} took {values} values");
    }
}

#[test]
fn a_warm_buffer_is_not_reallocated() {
    let mut out = Vec::new();
    build_rtp(&mut out, SESSION, &request(), 1200, &key()).unwrap();
    let before = (out.as_ptr(), out.capacity());
    for len in [48, 1200, 200] {
        build_rtp(&mut out, SESSION, &request(), len, &key()).unwrap();
        build_control(&mut out, SESSION, &request(), len, &key(), &mask()).unwrap();
        assert_eq!((out.as_ptr(), out.capacity()), before);
    }
}

#[test]
fn keys_do_not_show_themselves() {
    assert_eq!(format!("{:?} {:?}", key(), mask()), "DirectionKey(..) MaskKey(..)");
}

#[test]
fn flags_combine() {
    let both = ProbeFlags::REPLY_WANTED | ProbeFlags::REPLY;
    assert_eq!((both.bits(), both.contains(ProbeFlags::REPLY)), (3, true));
    assert!(!ProbeFlags::REPLY.contains(both) && ProbeFlags::NONE.bits() == 0);
}

#[test]
fn rtp_headers_of_others_are_read_and_written() {
    // RFC 3550, section 5.1: V=2, padding, extension, two CSRCs, marker, PT 120; the extension is RFC 8285's one-byte
    // form.
    let bytes = hex("b2 f8 fffe 00000bb8 cafebabe  00000001 00000002  bede 0001 10aabbcc  deadbeef");
    let (header, payload) = RtpHeader::parse(&bytes).unwrap();
    let expected = RtpHeader {
        marker: true,
        payload_type: 0x78,
        sequence: 0xfffe,
        timestamp: 3000,
        ssrc: 0xcafe_babe,
        csrcs: &[0, 0, 0, 1, 0, 0, 0, 2],
        extension: Some(RtpExtension { profile: 0xbede, data: &[0x10, 0xaa, 0xbb, 0xcc] }),
        padding: true,
    };
    assert_eq!((header, payload), (expected, &bytes[28..]));
    let mut out = vec![0xa5];
    header.emit(&mut out).unwrap();
    assert_eq!(out[1..], bytes[..28]);
    for len in 0..28 {
        assert_eq!(RtpHeader::parse(&bytes[..len]), Err(WireError::Truncated), "{len}");
    }
    assert_eq!(RtpHeader::parse(&hex("40 78 0000 00000000 00000000")), Err(WireError::Malformed));
    let probe = vector("rtp_48");
    let (header, _) = RtpHeader::parse(&probe).unwrap();
    assert_eq!((header.ssrc, header.payload_type, header.extension), (SESSION, 120, None));
    for wrong in [
        RtpHeader { payload_type: 128, ..header },
        RtpHeader { csrcs: &[0; 3], ..header },
        RtpHeader { csrcs: &[0; 64], ..header },
        RtpHeader { extension: Some(RtpExtension { profile: 0, data: &[0; 5] }), ..header },
    ] {
        let mut out = vec![0xa5];
        assert_eq!((wrong.emit(&mut out), out), (Err(WireError::Malformed), vec![0xa5]));
    }
}
