//! Opens the ports and serves them. Each TCP port takes TLS and plain text, told apart by the first byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tower::Service;

use crate::error::EmulatorError;
use crate::hub::{Arrival, Hub};
use crate::socket::Connections;

/// First byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;
/// For the first byte and the TLS handshake.
const OPENING: Duration = Duration::from_secs(10);
/// For a request's head; also how long an idle connection is kept, as at Discord's edge.
const HEAD: Duration = Duration::from_secs(400);

pub fn bind(purpose: &'static str, address: SocketAddr) -> Result<TcpListener, EmulatorError> {
    let failed = |source| EmulatorError::Bind { purpose, address, source };
    let domain = if address.is_ipv4() { socket2::Domain::IPV4 } else { socket2::Domain::IPV6 };
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    socket.set_reuse_address(true).map_err(failed)?;
    socket.bind(&address.into()).map_err(failed)?;
    socket.listen(1024).map_err(failed)?;
    TcpListener::from_std(socket.into()).map_err(failed)
}

/// Serves until the task is aborted. Without `tls` only plain text.
pub async fn serve(listener: TcpListener, hub: Arc<Hub>, router: Router, tls: Option<Arc<rustls::ServerConfig>>) {
    // The admin port's own connections stay when all others are reset.
    let open = if tls.is_some() { hub.connections.clone() } else { Arc::default() };
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, or a peer that gave up: neither ends the port.
                tracing::debug!("accept: {error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        if hub.faults.is_away() && tls.is_some() {
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            continue;
        }
        let (open, router, tls) = (open.clone(), router.clone(), tls.clone());
        let most = hub.config.limits.connections;
        tokio::spawn(async move { connection(stream, open, most, router, tls).await });
    }
}

async fn connection(
    stream: TcpStream,
    open: Arc<Connections>,
    most: usize,
    router: Router,
    tls: Option<Arc<rustls::ServerConfig>>,
) {
    let mut first = [0];
    let peeked = tokio::time::timeout(OPENING, stream.peek(&mut first)).await;
    if !matches!(peeked, Ok(Ok(1))) {
        return;
    }
    let Some((socket, control)) = open.admit(stream, most) else { return };
    match tls.filter(|_| first[0] == TLS_HANDSHAKE) {
        Some(config) => {
            let handshake = tokio::time::timeout(OPENING, TlsAcceptor::from(config).accept(socket)).await;
            match handshake {
                Ok(Ok(stream)) => http(stream, router, Arrival { control, tls: true }).await,
                Ok(Err(error)) => tracing::debug!(peer = %control.peer, "TLS handshake: {error}"),
                Err(_) => {}
            }
        }
        None => http(socket, router, Arrival { control, tls: false }).await,
    }
}

async fn http<S>(stream: S, router: Router, arrival: Arrival)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(arrival.clone());
        router.clone().call(request)
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::trace!("connection: {error}");
    }
}
