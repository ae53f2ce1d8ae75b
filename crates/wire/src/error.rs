//! The one error of this crate: what is wrong with the bytes, small enough to return by value for every packet.

use core::fmt;

/// Why bytes were not accepted, or could not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WireError {
    /// The bytes end before the format does.
    Truncated,
    /// The bytes are not of this format.
    Malformed,
    /// The format is recognised, but not this version, size or variant of it.
    Unsupported,
    /// Authentication failed: not sent by the holder of the key, or altered on the way.
    Forged,
    /// The size asked for is smaller than the format's minimum.
    TooShort,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WireError::Truncated => "the packet ends too early",
            WireError::Malformed => "the packet is malformed",
            WireError::Unsupported => "the packet's version, size or variant is not supported",
            WireError::Forged => "the packet's authentication failed",
            WireError::TooShort => "the size asked for is below the format's minimum",
        })
    }
}

impl core::error::Error for WireError {}
