//! DAVE, Discord's end-to-end encryption, as far as a client alone in its channel sees it: who may propose members (op 25).

use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

/// MLS external sender, server to client, binary.
pub const EXTERNAL_SENDER: u8 = 25;

/// MLS `ExternalSender` (RFC 9420, section 12.1.8.1): a fresh P-256 key and a basic credential, with MLS's variable-size vectors.
pub fn external_sender() -> Option<Vec<u8>> {
    let random = ring::rand::SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).ok()?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random).ok()?;
    let key = pair.public_key().as_ref();
    let identity = 1u64.to_be_bytes();
    // 65 bytes need the two-byte form of the length, 8 the one-byte form.
    let mut bytes = (0x4000 | key.len() as u16).to_be_bytes().to_vec();
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&1u16.to_be_bytes());
    bytes.push(identity.len() as u8);
    bytes.extend_from_slice(&identity);
    Some(bytes)
}
