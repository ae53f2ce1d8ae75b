//! TLS that trusts exactly one certificate. No name, date or issuer is looked at: the fingerprint says it all. The
//! handshake's signature is verified as ever, so that whoever shows the certificate must also hold its key.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use crate::join::Fingerprint;

/// Remembers the certificate that was refused, because by the time the HTTP client reports an error it is only text.
#[derive(Debug)]
pub(crate) struct PinnedCertificate {
    expected: Fingerprint,
    provider: Arc<CryptoProvider>,
    refused: Mutex<Option<Fingerprint>>,
}

impl PinnedCertificate {
    pub(crate) fn new(expected: Fingerprint) -> PinnedCertificate {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        PinnedCertificate { expected, provider, refused: Mutex::new(None) }
    }

    pub(crate) fn expected(&self) -> Fingerprint {
        self.expected
    }

    /// The certificate that was refused since the last call.
    pub(crate) fn take_refused(&self) -> Option<Fingerprint> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn client_config(self: &Arc<Self>) -> Result<ClientConfig, Error> {
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .dangerous()
            .with_custom_certificate_verifier(self.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl ServerCertVerifier for PinnedCertificate {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = Fingerprint::of_certificate(certificate);
        if shown == self.expected {
            return Ok(ServerCertVerified::assertion());
        }
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};

    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::server::{ClientHello, ResolvesServerCert};
    use rustls::sign::CertifiedKey;

    use super::*;
    use crate::WorkerError;
    use crate::join::{Secret, ServerAddress};
    use crate::uplink::Uplink;

    #[derive(Debug)]
    struct Always(Arc<CertifiedKey>);

    impl ResolvesServerCert for Always {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(self.0.clone())
        }
    }

    fn certificate() -> (Vec<u8>, Vec<u8>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["netlat.invalid".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().der().to_vec(), key.serialize_der())
    }

    /// Shows `certificate`, signs with `key`, answers one request with 401 and this body. Tells what was asked.
    fn serve(certificate: &[u8], key: &[u8], body: &'static str) -> (SocketAddr, std::thread::JoinHandle<String>) {
        let provider = rustls::crypto::ring::default_provider();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_vec()));
        let signing = provider.key_provider.load_private_key(key).unwrap();
        // Made by hand: rustls itself would notice a key of another certificate.
        let certified = CertifiedKey::new(vec![CertificateDer::from(certificate.to_vec())], signing);
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Always(Arc::new(certified))));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut session = rustls::ServerConnection::new(Arc::new(config)).unwrap();
            let mut tls = rustls::Stream::new(&mut session, &mut stream);
            let mut asked = String::new();
            let mut chunk = [0; 1024];
            while !asked.ends_with('}') {
                match tls.read(&mut chunk) {
                    Ok(length) if length > 0 => asked += &String::from_utf8_lossy(&chunk[..length]),
                    _ => return asked,
                }
            }
            let length = body.len();
            write!(tls, "HTTP/1.1 401 x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").unwrap();
            tls.flush().unwrap();
            asked
        });
        (address, thread)
    }

    async fn enroll(address: SocketAddr, expected: Fingerprint) -> WorkerError {
        let server = ServerAddress { host: address.ip().to_string(), port: address.port() };
        let uplink = Uplink::new(server, expected, Secret::new("s3cret".to_owned())).unwrap();
        uplink.enroll(crate::config::host_name(), true).await.err().expect("nobody here admits workers")
    }

    #[tokio::test]
    async fn the_pinned_certificate_is_accepted_under_any_name() {
        let (certificate, key) = certificate();
        let (address, server) = serve(&certificate, &key, "{\"error\":\"bad_token\",\"message\":\"used\"}");
        let error = enroll(address, Fingerprint::of_certificate(&certificate)).await;
        assert!(matches!(error, WorkerError::BadToken { .. }), "{error}");
        assert!(!error.to_string().contains("s3cret"));
        let asked = server.join().unwrap().to_ascii_lowercase();
        assert!(asked.starts_with("post /api/v1/enroll http/1.1"), "{asked}");
        assert!(asked.contains("authorization: bearer s3cret"), "{asked}");
    }

    #[tokio::test]
    async fn another_certificate_is_refused_before_anything_secret_is_sent() {
        let (certificate, key) = certificate();
        let (address, server) = serve(&certificate, &key, "{}");
        let error = enroll(address, Fingerprint([0xde; 32])).await;
        let shown = Fingerprint::of_certificate(&certificate).short();
        let line = error.to_string();
        assert!(matches!(error, WorkerError::WrongFingerprint { .. }), "{line}");
        assert!(line.contains(&shown) && line.contains("dededededededede"), "{line}");
        assert_eq!(server.join().unwrap(), "");
    }

    #[tokio::test]
    async fn the_right_certificate_without_its_key_is_refused() {
        let (certificate, _) = certificate();
        let (_, other_key) = self::certificate();
        let (address, server) = serve(&certificate, &other_key, "{}");
        let error = enroll(address, Fingerprint::of_certificate(&certificate)).await;
        assert!(matches!(error, WorkerError::Unreachable { .. }), "{error}");
        assert_eq!(server.join().unwrap(), "");
    }

    #[tokio::test]
    async fn nobody_there_is_one_line_with_the_address() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let line = enroll(address, Fingerprint([0; 32])).await.to_string();
        assert!(line.starts_with(&format!("cannot reach the server at {address}: ")), "{line}");
        assert!(!line.contains('\n') && line.contains("refused"), "{line}");
    }
}
