//! What kind of place an address is: only what is public may be reached by a name.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A kind of address that no name may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// This machine.
    Loopback,
    /// A local network.
    Private,
    /// What is on the same wire.
    LinkLocal,
    /// Where a cloud gives a machine its keys.
    Metadata,
    /// Between a provider and its customers.
    Shared,
    /// Many at once.
    Multicast,
    /// Of no use between machines: unspecified, for documentation, for tests, in reserve.
    Reserved,
    /// An IPv4 address in a form that gets around who looks at the usual one.
    Disguised,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "this machine's own",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Metadata => "a cloud's metadata service",
            Self::Shared => "a provider's own",
            Self::Multicast => "multicast",
            Self::Reserved => "reserved",
            Self::Disguised => "an IPv4 address in disguise",
        })
    }
}

/// Where clouds hand out keys, as far as the address alone does not give it away.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// IPv4 networks that are not public: the first address, the bits that count, the kind.
const V4: &[([u8; 4], u8, Kind)] = &[
    ([0, 0, 0, 0], 8, Kind::Reserved),
    ([10, 0, 0, 0], 8, Kind::Private),
    ([100, 64, 0, 0], 10, Kind::Shared),
    ([127, 0, 0, 0], 8, Kind::Loopback),
    ([169, 254, 0, 0], 16, Kind::LinkLocal),
    ([172, 16, 0, 0], 12, Kind::Private),
    ([192, 0, 0, 0], 24, Kind::Reserved),
    ([192, 0, 2, 0], 24, Kind::Reserved),
    ([192, 88, 99, 0], 24, Kind::Reserved),
    ([192, 168, 0, 0], 16, Kind::Private),
    ([198, 18, 0, 0], 15, Kind::Reserved),
    ([198, 51, 100, 0], 24, Kind::Reserved),
    ([203, 0, 113, 0], 24, Kind::Reserved),
    ([224, 0, 0, 0], 4, Kind::Multicast),
    ([240, 0, 0, 0], 4, Kind::Reserved),
];

/// Of IPv6 only 2000::/3 is public; these parts of it are not.
const V6: &[([u16; 2], u8, Kind)] = &[
    // Protocols of their own, and IPv4 in tunnels.
    ([0x2001, 0], 23, Kind::Reserved),
    ([0x2001, 0xdb8], 32, Kind::Reserved),
    ([0x2002, 0], 16, Kind::Disguised),
    ([0x3fff, 0], 20, Kind::Reserved),
];

/// What kind of address that is; `None` for one that everybody reaches.
#[must_use]
pub fn kind(address: IpAddr) -> Option<Kind> {
    if METADATA.contains(&address) {
        return Some(Kind::Metadata);
    }
    match address {
        IpAddr::V4(address) => V4.iter().find_map(|(first, bits, kind)| {
            let apart = u32::from(address) ^ u32::from(Ipv4Addr::from(*first));
            (apart.leading_zeros() >= u32::from(*bits)).then_some(*kind)
        }),
        IpAddr::V6(address) => of_v6(address),
    }
}

fn of_v6(address: Ipv6Addr) -> Option<Kind> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0) if (g, h) == (0, 0) => Some(Kind::Reserved),
        (0, 0, 0, 0, 0, 0) if (g, h) == (0, 1) => Some(Kind::Loopback),
        (0, 0, 0, 0, 0, 0 | 0xffff) => Some(Kind::Disguised),
        // What a network without IPv4 makes of an IPv4 address: as public as that.
        (0x64, 0xff9b, 0, 0, 0, 0) => {
            let [g, h] = [g, h].map(u16::to_be_bytes);
            kind(Ipv4Addr::from([g[0], g[1], h[0], h[1]]).into()).map(|_| Kind::Disguised)
        }
        (0x64, 0xff9b, ..) => Some(Kind::Disguised),
        (0xfe80..=0xfebf, ..) => Some(Kind::LinkLocal),
        (0xfc00..=0xfdff | 0xfec0..=0xfeff, ..) => Some(Kind::Private),
        (0xff00.., ..) => Some(Kind::Multicast),
        (0x2000..=0x3fff, ..) => V6.iter().find_map(|([first, second], bits, kind)| {
            let apart = (u32::from(a ^ first) << 16) | u32::from(b ^ second);
            (apart.leading_zeros() >= u32::from(*bits)).then_some(*kind)
        }),
        _ => Some(Kind::Reserved),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_address_has_its_kind() {
        let check = |text: &str, expected: Option<Kind>| {
            assert_eq!(kind(text.parse().unwrap()), expected, "{text}");
        };
        for public in ["1.1.1.1", "8.8.8.8", "172.15.255.255", "172.32.0.0", "100.63.255.255"] {
            check(public, None);
        }
        for public in ["2606:4700::1111", "2001:4860:4860::8888", "64:ff9b::808:808"] {
            check(public, None);
        }
        check("127.0.0.1", Some(Kind::Loopback));
        check("127.255.255.254", Some(Kind::Loopback));
        check("::1", Some(Kind::Loopback));
        check("10.1.2.3", Some(Kind::Private));
        check("172.31.0.1", Some(Kind::Private));
        check("192.168.1.1", Some(Kind::Private));
        check("fd12:3456::1", Some(Kind::Private));
        check("fec0::1", Some(Kind::Private));
        check("169.254.1.1", Some(Kind::LinkLocal));
        check("fe80::1", Some(Kind::LinkLocal));
        check("169.254.169.254", Some(Kind::Metadata));
        check("fd00:ec2::254", Some(Kind::Metadata));
        check("168.63.129.16", Some(Kind::Metadata));
        check("100.100.100.200", Some(Kind::Metadata));
        check("100.64.0.1", Some(Kind::Shared));
        check("224.0.0.1", Some(Kind::Multicast));
        check("ff02::1", Some(Kind::Multicast));
        for reserved in ["0.0.0.0", "0.1.2.3", "192.0.2.1", "198.19.0.1", "203.0.113.80"] {
            check(reserved, Some(Kind::Reserved));
        }
        for reserved in ["255.255.255.255", "240.0.0.1", "::", "2001:db8::1", "2001::1", "4000::"] {
            check(reserved, Some(Kind::Reserved));
        }
        for disguised in ["::ffff:127.0.0.1", "::ffff:8.8.8.8", "::7f00:1", "2002:7f00:1::"] {
            check(disguised, Some(Kind::Disguised));
        }
        for disguised in ["64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808"] {
            check(disguised, Some(Kind::Disguised));
        }
    }

    proptest! {
        #[test]
        fn no_form_of_an_address_that_is_not_public_is(bits in any::<u32>()) {
            let plain = Ipv4Addr::from(bits);
            let [a, b, c, d] = plain.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            for form in [
                plain.to_ipv6_mapped(),
                plain.to_ipv6_compatible(),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
            ] {
                prop_assert!(kind(form.into()).is_some());
            }
            let translated = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low);
            prop_assert_eq!(kind(translated.into()).is_none(), kind(plain.into()).is_none());
        }

        #[test]
        fn the_standard_library_knows_none_of_these_as_public(bits in any::<u32>()) {
            let address = Ipv4Addr::from(bits);
            let special = address.is_private() || address.is_loopback() || address.is_link_local()
                || address.is_broadcast() || address.is_documentation() || address.is_multicast()
                || address.is_unspecified();
            prop_assert!(!special || kind(address.into()).is_some());
        }
    }
}
