//! One kept connection to an endpoint, whose socket stays in reach: what the kernel knows of it stands beside every exchange.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use net::tcp_info::{self, TcpInfo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::rest::endpoint::Endpoint;

const CONNECT: Duration = Duration::from_secs(10);

/// TLS that trusts what the system trusts, or the certificates in the file that `SSL_CERT_FILE` names.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no certificate authority is trusted here ({0}): install ca-certificates, or name a PEM file in SSL_CERT_FILE")]
pub struct NoTrust(String);

impl Trust {
    /// Reads the trusted certificates; also makes `ring` the one provider of cryptography for libraries that ask for the
    /// process's default.
    pub fn load() -> Result<Trust, NoTrust> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        // An error says that one was chosen before, which then is this one too: there is no other in the tree.
        let _ = rustls::crypto::CryptoProvider::install_default((*provider).clone());
        let loaded = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(loaded.certs);
        if roots.is_empty() {
            let problem = loaded.errors.first().map_or("none found".to_owned(), ToString::to_string);
            return Err(NoTrust(problem));
        }
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| NoTrust(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Trust(Arc::new(config)))
    }

    pub(crate) fn connector(&self) -> TlsConnector {
        TlsConnector::from(self.0.clone())
    }
}

/// A connected socket's other handle, for questions only.
#[derive(Debug)]
pub struct Socket {
    handle: OwnedFd,
    pub peer: SocketAddr,
}

impl Socket {
    pub fn of(stream: &TcpStream) -> std::io::Result<Socket> {
        Ok(Socket { handle: stream.as_fd().try_clone_to_owned()?, peer: stream.peer_addr()? })
    }

    pub fn info(&self) -> Option<TcpInfo> {
        tcp_info::read(self.handle.as_fd()).ok()
    }
}

/// Connects, tries every address the name has, and answers with the time the successful connect took.
pub async fn connect(host: &str, port: u16) -> std::io::Result<(TcpStream, Duration)> {
    let attempt = async {
        let mut failure = None;
        for address in tokio::net::lookup_host((host, port)).await? {
            let began = std::time::Instant::now();
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    let took = began.elapsed();
                    stream.set_nodelay(true)?;
                    return Ok((stream, took));
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address")))
    };
    tokio::time::timeout(CONNECT, attempt)
        .await
        .unwrap_or_else(|_| Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "no connection in time")))
}

/// Time of one TCP connect to an address, which is closed at once: the network's round trip without any application.
pub async fn probe(peer: SocketAddr) -> Option<Duration> {
    let began = std::time::Instant::now();
    let stream = tokio::time::timeout(CONNECT, TcpStream::connect(peer)).await.ok()?.ok()?;
    let took = began.elapsed();
    drop(stream);
    Some(took)
}

pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Full<Bytes>>,
    pub(crate) socket: Socket,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    pub(crate) async fn open(endpoint: &Endpoint, trust: &Trust) -> std::io::Result<Connection> {
        let (stream, _) = connect(&endpoint.host, endpoint.port).await?;
        let socket = Socket::of(&stream)?;
        if endpoint.tls {
            let name = ServerName::try_from(endpoint.host.clone()).map_err(std::io::Error::other)?;
            let tls = tokio::time::timeout(CONNECT, trust.connector().connect(name, stream))
                .await
                .map_err(|_| std::io::Error::new(std::io::ErrorKind::TimedOut, "no TLS handshake in time"))??;
            Connection::over(tls, socket).await
        } else {
            Connection::over(stream, socket).await
        }
    }

    pub(crate) async fn over(
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        socket: Socket,
    ) -> std::io::Result<Connection> {
        let (sender, connection) = handshake(TokioIo::new(io)).await.map_err(std::io::Error::other)?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the API ended");
            }
        });
        Ok(Connection { sender, socket, driver })
    }
}
