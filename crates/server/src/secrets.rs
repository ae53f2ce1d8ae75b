//! Random ids, keys and tokens, and the one-way hash under which tokens are kept.

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};

use crate::error::ServerError;

/// `N` random bytes from the kernel.
pub fn random<const N: usize>() -> Result<[u8; N], ServerError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| ServerError::Random)?;
    Ok(bytes)
}

/// Fills all of `bytes` from the kernel.
pub fn fill(bytes: &mut [u8]) -> Result<(), ServerError> {
    SystemRandom::new().fill(bytes).map_err(|_| ServerError::Random)
}

/// A token of 128 random bits: 26 characters of lower-case base32.
pub fn token() -> Result<String, ServerError> {
    Ok(BASE32_NOPAD.encode(&random::<16>()?).to_ascii_lowercase())
}

/// Tokens have 128 random bits, so one round of SHA-256 protects the stored hash.
pub fn hash(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    hash
}

pub fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}
