//! The DNS probe port: real queries, answered to whoever authenticates.

use std::net::SocketAddr;

use wire::{Peeked, ProbeHeader, WireError};

use crate::udp::{Courtesy, Dropped, Form, Opened, Protocol, Shared};

pub(crate) struct DnsPort;

impl Protocol for DnsPort {
    fn open(&mut self, packet: &mut [u8], shared: &Shared) -> Result<Opened, Dropped> {
        let query = wire::dns::parse_query(packet).map_err(|_| Dropped::Truncated)?;
        let peeked = wire::token::peek_token(&query.token, &shared.mask);
        let session = shared.sessions.get(peeked.session).ok_or(Dropped::Unknown)?;
        let header = wire::token::open_token(&query.token, &peeked, &session.key_up).map_err(|_| Dropped::Forged)?;
        Ok(Opened { session, header, len: packet.len(), form: Form::Dns(query) })
    }

    fn answer(
        &mut self,
        opened: &Opened,
        header: &ProbeHeader,
        out: &mut Vec<u8>,
        shared: &Shared,
    ) -> Result<(), WireError> {
        let Form::Dns(query) = &opened.form else { return Err(WireError::Unsupported) };
        let token = wire::token::seal_token(opened.session.id.0, header, &opened.session.key_down, &shared.mask);
        wire::dns::build_answer(out, query, &token);
        Ok(())
    }

    fn identify(&self, payload: &[u8], shared: &Shared) -> Option<Peeked> {
        let token = wire::dns::parse_answer(payload).ok()?.token?;
        Some(wire::token::peek_token(&token, &shared.mask))
    }

    fn courtesy(&mut self, _: &[u8], _: SocketAddr, _: &Shared) -> Courtesy {
        Courtesy::NotMine
    }
}
