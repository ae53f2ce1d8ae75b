//! STAMP's TLVs (RFC 8972, section 4), among them Class of Service in the RFC's layout and in the later draft's.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |U|M|I|R|R|R|R|R|     Type      |            Length             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                            Value ...                          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//!
//! Class of Service (RFC 8972, section 4.4)
//! |   DSCP1   |   DSCP2   |ECN| RP|            Reserved           |
//! the same in draft-ietf-ippm-stamp-cos-ecn
//! |   DSCP1   |   DSCP2   |EC2|RPD|EC1|RPE|       Reserved        |
//! ```

use alloc::vec::Vec;

use crate::bytes::Reader;
use crate::error::WireError;
use crate::tos::{Dscp, Ecn};

/// Flags, type and length.
pub const TLV_HEADER_LEN: usize = 4;

/// The flags of a TLV. A sender sends U alone; what a reflector sends is its judgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlvFlags(pub u8);

impl TlvFlags {
    pub const NONE: TlvFlags = TlvFlags(0);
    /// U: not understood.
    pub const UNRECOGNIZED: TlvFlags = TlvFlags(0x80);
    /// M: malformed.
    pub const MALFORMED: TlvFlags = TlvFlags(0x40);
    /// I: the integrity check of the TLVs failed.
    pub const INTEGRITY: TlvFlags = TlvFlags(0x20);

    pub const fn contains(self, other: TlvFlags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The registered types (IANA, "STAMP TLV Types").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlvType {
    ExtraPadding,
    Location,
    TimestampInformation,
    ClassOfService,
    DirectMeasurement,
    AccessReport,
    FollowUpTelemetry,
    Hmac,
    /// Reserved, unassigned, or of a later document.
    Other(u8),
}

impl TlvType {
    pub const fn from_byte(byte: u8) -> TlvType {
        match byte {
            1 => TlvType::ExtraPadding,
            2 => TlvType::Location,
            3 => TlvType::TimestampInformation,
            4 => TlvType::ClassOfService,
            5 => TlvType::DirectMeasurement,
            6 => TlvType::AccessReport,
            7 => TlvType::FollowUpTelemetry,
            8 => TlvType::Hmac,
            other => TlvType::Other(other),
        }
    }

    pub const fn byte(self) -> u8 {
        match self {
            TlvType::ExtraPadding => 1,
            TlvType::Location => 2,
            TlvType::TimestampInformation => 3,
            TlvType::ClassOfService => 4,
            TlvType::DirectMeasurement => 5,
            TlvType::AccessReport => 6,
            TlvType::FollowUpTelemetry => 7,
            TlvType::Hmac => 8,
            TlvType::Other(byte) => byte,
        }
    }

    /// The one length the type allows, if it allows only one.
    pub const fn fixed_len(self) -> Option<usize> {
        match self {
            TlvType::TimestampInformation | TlvType::ClassOfService | TlvType::AccessReport => Some(4),
            TlvType::DirectMeasurement => Some(12),
            TlvType::FollowUpTelemetry | TlvType::Hmac => Some(16),
            TlvType::ExtraPadding | TlvType::Location | TlvType::Other(_) => None,
        }
    }
}

/// One TLV, borrowed from its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv<'a> {
    pub flags: TlvFlags,
    pub kind: TlvType,
    pub value: &'a [u8],
}

impl<'a> Tlv<'a> {
    /// As a sender sends it: U is set, so that a reflector that does not look is found out.
    pub const fn request(kind: TlvType, value: &'a [u8]) -> Tlv<'a> {
        Tlv { flags: TlvFlags::UNRECOGNIZED, kind, value }
    }

    /// Appends the TLV. [`WireError::Unsupported`] for a value longer than a length can say; `out` is then unchanged.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        let [high, low] = u16::try_from(self.value.len()).map_err(|_| WireError::Unsupported)?.to_be_bytes();
        out.extend_from_slice(&[self.flags.0, self.kind.byte(), high, low]);
        out.extend_from_slice(self.value);
        Ok(())
    }
}

/// Goes through what follows a base packet, up to its end or the first thing that is no whole TLV.
#[derive(Clone, Copy, Debug)]
pub struct Tlvs<'a>(Reader<'a>);

impl<'a> Tlvs<'a> {
    pub const fn new(bytes: &'a [u8]) -> Tlvs<'a> {
        Tlvs(Reader::new(bytes))
    }

    /// What has not been gone through yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.0.rest()
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Tlv<'a>;

    fn next(&mut self) -> Option<Tlv<'a>> {
        let mut ahead = self.0;
        let (flags, kind, value) = (ahead.u8().ok()?, ahead.u8().ok()?, ahead.vec16().ok()?);
        self.0 = ahead;
        Some(Tlv { flags: TlvFlags(flags), kind: TlvType::from_byte(kind), value })
    }
}

/// What became of the ECN asked for on the reverse path: RPE of the draft. The RFC's reflectors leave it at the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ReversePathEcn {
    /// The reflector does not know the field; or it is a request.
    #[default]
    NotSupported = 0,
    Reserved = 1,
    /// It was not permitted or not possible: the reply is sent Not-ECT.
    Refused = 2,
    /// The reply is sent with the ECN asked for.
    Done = 3,
}

/// The value of a Class of Service TLV.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClassOfService {
    /// DSCP1: what the sender wants on the reply.
    pub requested_dscp: Dscp,
    /// DSCP2: what the reflector received.
    pub received_dscp: Dscp,
    /// ECN, EC2 in the draft: what the reflector received.
    pub received_ecn: Ecn,
    /// RP, RPD in the draft: 1 where the reflector refused DSCP1; two bits.
    pub reverse_path: u8,
    /// EC1 of the draft: what the sender wants on the reply. Not-ECT makes it the RFC's layout.
    pub requested_ecn: Ecn,
    pub reverse_path_ecn: ReversePathEcn,
}

impl ClassOfService {
    /// RFC 8972's request.
    pub fn request(dscp: Dscp) -> ClassOfService {
        ClassOfService { requested_dscp: dscp, ..ClassOfService::default() }
    }

    pub const fn parse(value: [u8; 4]) -> ClassOfService {
        let [a, b, c, _] = value;
        let dscp2 = ((a & 0b11) << 4) | (b >> 4);
        ClassOfService {
            requested_dscp: six_bits(a >> 2),
            received_dscp: six_bits(dscp2),
            received_ecn: Ecn::from_bits(b >> 2),
            reverse_path: b & 0b11,
            requested_ecn: Ecn::from_bits(c >> 6),
            reverse_path_ecn: match c >> 4 & 0b11 {
                0 => ReversePathEcn::NotSupported,
                1 => ReversePathEcn::Reserved,
                2 => ReversePathEcn::Refused,
                _ => ReversePathEcn::Done,
            },
        }
    }

    pub const fn bytes(self) -> [u8; 4] {
        let (dscp1, dscp2) = (self.requested_dscp.get(), self.received_dscp.get());
        [
            dscp1 << 2 | dscp2 >> 4,
            dscp2 << 4 | self.received_ecn.bits() << 2 | self.reverse_path & 0b11,
            self.requested_ecn.bits() << 6 | (self.reverse_path_ecn as u8) << 4,
            0,
        ]
    }

    /// Whether the reflector sent its reply with another DSCP than the one asked for, and said so.
    pub const fn refused(&self) -> bool {
        self.reverse_path == 1
    }
}

const fn six_bits(bits: u8) -> Dscp {
    match Dscp::new(bits & 0x3f) {
        Some(dscp) => dscp,
        None => Dscp::BEST_EFFORT,
    }
}
