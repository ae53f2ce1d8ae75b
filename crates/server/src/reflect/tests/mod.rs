//! The reflector over real sockets on loopback, byte by byte, and its sessions in virtual time.

mod session;
mod sockets;
