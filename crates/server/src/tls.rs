//! The control plane's certificate: made once and kept in the store, or read from files; and its fingerprint.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use ring::digest;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::error::ServerError;

/// Certificate chain and key, both DER.
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Makes a certificate that is valid for a hundred years: workers pin its fingerprint and check neither name nor date.
    pub fn self_signed() -> Result<(Vec<u8>, Vec<u8>), ServerError> {
        let failed = |error: rcgen::Error| ServerError::SelfSigned(error.to_string());
        let key = rcgen::KeyPair::generate().map_err(failed)?;
        let mut params = rcgen::CertificateParams::new(vec!["netlat.invalid".to_owned()]).map_err(failed)?;
        params.distinguished_name.push(rcgen::DnType::CommonName, "NetLat main server");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2120, 1, 1);
        let certificate = params.self_signed(&key).map_err(failed)?;
        Ok((certificate.der().to_vec(), key.serialize_der()))
    }

    pub fn from_der(certificate: Vec<u8>, key: Vec<u8>) -> Identity {
        Identity {
            chain: vec![CertificateDer::from(certificate)],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)),
        }
    }

    /// Reads PEM files: a chain, leaf first, and its key.
    pub fn from_files(chain: &Path, key: &Path) -> Result<Identity, ServerError> {
        let bad = |path: &Path, problem: String| ServerError::Certificate { path: PathBuf::from(path), problem };
        let certificates = CertificateDer::pem_file_iter(chain)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| bad(chain, error.to_string()))?;
        if certificates.is_empty() {
            return Err(bad(chain, "the file holds no PEM certificate".to_owned()));
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, error.to_string()))?;
        Ok(Identity { chain: certificates, key: private })
    }

    /// SHA-256 of the leaf certificate, 64 hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        HEXLOWER.encode(digest::digest(&digest::SHA256, &self.chain[0]).as_ref())
    }

    pub fn server_config(self) -> Result<Arc<rustls::ServerConfig>, ServerError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(self.chain, self.key))
            .map_err(|error| ServerError::SelfSigned(error.to_string()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_certificate_serves_and_its_fingerprint_is_that_of_its_bytes() {
        let (certificate, key) = Identity::self_signed().unwrap();
        let identity = Identity::from_der(certificate.clone(), key);
        let expected = HEXLOWER.encode(digest::digest(&digest::SHA256, &certificate).as_ref());
        assert_eq!(identity.fingerprint(), expected);
        identity.server_config().unwrap();
    }

    #[test]
    fn a_missing_certificate_file_is_named() {
        let missing = Path::new("/nonexistent/chain.pem");
        let error = Identity::from_files(missing, missing).err().unwrap().to_string();
        assert!(error.contains("/nonexistent/chain.pem"), "{error}");
    }
}
