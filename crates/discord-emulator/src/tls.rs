//! The private CA and a certificate for Discord's names, made afresh at each start.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::error::EmulatorError;

const NAMES: [&str; 11] = [
    "discord.com",
    "*.discord.com",
    "discord.gg",
    "*.discord.gg",
    "*.discord.media",
    "discordapp.com",
    "*.discordapp.com",
    "discordapp.net",
    "*.discordapp.net",
    "discord.media",
    "localhost",
];

pub struct Authority {
    /// PEM, for clients to trust.
    pub certificate: String,
    pub server: Arc<rustls::ServerConfig>,
}

impl Authority {
    pub fn new(names: &[String], addresses: impl Iterator<Item = IpAddr>) -> Result<Authority, EmulatorError> {
        let failed = |error: rcgen::Error| EmulatorError::Certificate(error.to_string());
        let ca_key = KeyPair::generate().map_err(failed)?;
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "Discord emulator, private CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut ca);
        let root = ca.self_signed(&ca_key).map_err(failed)?;

        let mut all: Vec<String> = NAMES.iter().map(|name| (*name).to_owned()).chain(names.iter().cloned()).collect();
        all.extend(["127.0.0.1".to_owned(), "::1".to_owned()]);
        all.extend(addresses.map(|address| address.to_string()));
        all.sort_unstable();
        all.dedup();
        let key = KeyPair::generate().map_err(failed)?;
        let mut leaf = CertificateParams::new(all).map_err(failed)?;
        leaf.distinguished_name.push(DnType::CommonName, "discord.com");
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.use_authority_key_identifier_extension = true;
        set_validity(&mut leaf);
        let certificate = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).map_err(failed)?;

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key))
            .map_err(|error| EmulatorError::Certificate(error.to_string()))?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Authority { certificate: root.pem(), server: Arc::new(server) })
    }
}

/// A day back, for clients whose clock is behind; a year forward, since some refuse certificates that last long.
fn set_validity(params: &mut CertificateParams) {
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - time::Duration::days(1);
    params.not_after = now + time::Duration::days(365);
}
