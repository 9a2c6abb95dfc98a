//! Which addresses may be called at the wish of others, and blocks of addresses. Pure.

use crate::error::{Error, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 that leads to no machine of the public internet, or to a machine that trusts whoever can reach it.
const CLOSED_V4: [([u8; 4], u32); 17] = [
    ([0, 0, 0, 0], 8),        // this network, unspecified
    ([10, 0, 0, 0], 8),       // private
    ([100, 64, 0, 0], 10),    // carrier-grade NAT; metadata of one cloud
    ([127, 0, 0, 0], 8),      // loopback
    ([168, 63, 129, 16], 32), // one cloud's host, as its machines see it
    ([169, 254, 0, 0], 16),   // link-local, metadata of most clouds
    ([172, 16, 0, 0], 12),    // private
    ([192, 0, 0, 0], 24),     // protocol assignments, metadata of one cloud
    ([192, 0, 2, 0], 24),     // documentation
    ([192, 31, 196, 0], 24),  // AS112
    ([192, 52, 193, 0], 24),  // AMT
    ([192, 88, 99, 0], 24),   // 6to4 relays
    ([192, 168, 0, 0], 16),   // private
    ([198, 18, 0, 0], 15),    // benchmarks
    ([198, 51, 100, 0], 24),  // documentation
    ([203, 0, 113, 0], 24),   // documentation
    ([224, 0, 0, 0], 3),      // multicast, reserved, broadcast
];

/// What of 2000::/3 is closed; all that lies outside it is (loopback, link-local, unique local, multicast, v4-mapped,
/// v4-compatible, NAT64, discard).
const CLOSED_V6: [([u16; 8], u32); 6] = [
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),         // protocol assignments: Teredo, benchmarks, ORCHID
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),     // documentation
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),         // 6to4: an IPv4 address inside
    ([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48), // AS112
    ([0x3ffe, 0, 0, 0, 0, 0, 0, 0], 16),         // the old 6bone
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),         // documentation
];
const GLOBAL_V6: ([u16; 8], u32) = ([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
/// What stands before the IPv4 address in an interface id of ISATAP; the bit of universal ids may be set.
const ISATAP: u16 = 0x5efe;

/// Whether this is the address of a machine on the public internet.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !CLOSED_V4.iter().any(|(block, bits)| in_block(Ipv4Addr::from(*block).into(), *bits, v4.into())),
        IpAddr::V6(v6) => {
            let within = |(block, bits): &([u16; 8], u32)| in_block(Ipv6Addr::from(*block).into(), *bits, v6.into());
            let [.., high, low, _, _] = v6.segments();
            let isatap = high & !0x0200 == 0 && low == ISATAP;
            within(&GLOBAL_V6) && !CLOSED_V6.iter().any(within) && !isatap
        }
    }
}

fn in_block(block: IpAddr, bits: u32, address: IpAddr) -> bool {
    match (block, address) {
        (IpAddr::V4(b), IpAddr::V4(a)) => (b.to_bits() ^ a.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0,
        (IpAddr::V6(b), IpAddr::V6(a)) => (b.to_bits() ^ a.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0,
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// Blocks of addresses, as settings name them.
#[derive(Debug, Clone, Default)]
pub struct Blocks(Vec<(IpAddr, u32)>);

impl Blocks {
    /// Reads addresses and CIDR blocks, comma separated.
    ///
    /// # Errors
    /// One line that names the setting and says what to set.
    pub fn parse(text: &str, setting: &str) -> Result<Self> {
        let wrong = || Error::broken(format!("{setting}: expected addresses or blocks such as 10.0.0.0/8, comma separated"));
        let mut blocks = Vec::new();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (address, bits) = part.split_once('/').map_or((part, None), |(address, bits)| (address, Some(bits)));
            let address: IpAddr = address.parse().map_err(|_| wrong())?;
            let width = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Ok(width), str::parse).map_err(|_| wrong())?;
            if bits > width {
                return Err(wrong());
            }
            blocks.push((address, bits));
        }
        Ok(Self(blocks))
    }

    /// Whether one of them has this address. An IPv4 block has no IPv6 address, however it is written.
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|(block, bits)| in_block(*block, *bits, address))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
