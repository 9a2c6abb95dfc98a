//! Where a request came from: the peer's address, or what a trusted proxy says of it.

use crate::error::Result;
use crate::outbound::address::Blocks;
use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};

/// The addresses of proxies whose `X-Forwarded-For` is believed; kept in the app's data.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Blocks);

/// The client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl TrustedProxies {
    /// Reads addresses and CIDR blocks, comma separated.
    ///
    /// # Errors
    /// One line that says what to set.
    pub fn parse(text: &str) -> Result<Self> {
        Blocks::parse(text, "KAIROS_TRUSTED_PROXIES").map(Self)
    }

    /// The client behind a chain of proxies: the last address of `X-Forwarded-For` that no trusted proxy has.
    pub fn client(&self, peer: IpAddr, forwarded_for: &str) -> IpAddr {
        let mut client = peer.to_canonical();
        // Read from the right: only what a trusted hop wrote down counts; what stands further left anyone can forge.
        for hop in forwarded_for.rsplit(',') {
            let Ok(hop) = hop.trim().parse::<IpAddr>() else { break };
            if !self.0.contain(client) {
                break;
            }
            client = hop.to_canonical();
        }
        client
    }
}

impl ClientAddress {
    /// What limits count by: the whole IPv4 address, or the /64 of an IPv6 one, which is what one customer gets.
    pub fn prefix(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        }
    }
}

impl FromRequest for ClientAddress {
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let peer = request.peer_addr().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.ip());
        let forwarded: Vec<&str> =
            request.headers().get_all("X-Forwarded-For").map(|value| value.to_str().unwrap_or("")).collect();
        let address = match request.app_data::<web::Data<TrustedProxies>>() {
            Some(proxies) => proxies.client(peer, &forwarded.join(",")),
            None => peer.to_canonical(),
        };
        std::future::ready(Ok(Self(address)))
    }
}
