//! The host's network interfaces and their addresses.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::io;
use std::net::IpAddr;

use crate::error::NetError;
use crate::sys::{self, RawAddress};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub index: u32,
    /// Administratively up.
    pub up: bool,
    pub loopback: bool,
    pub addresses: Vec<IpAddr>,
}

/// All interfaces, in the order of their index.
pub fn list() -> Result<Vec<Interface>, NetError> {
    let mut found = BTreeMap::new();
    let list = AddressList::read().map_err(|error| NetError::new("listing", "the network interfaces", error))?;
    for (name, flags, address) in list.entries() {
        let up = flags & libc::IFF_UP as u32 != 0;
        let loopback = flags & libc::IFF_LOOPBACK as u32 != 0;
        let interface = found.entry(name.clone()).or_insert_with(|| Interface {
            index: index(&name).unwrap_or(0),
            name,
            up,
            loopback,
            addresses: Vec::new(),
        });
        interface.addresses.extend(address);
    }
    let mut interfaces: Vec<Interface> = found.into_values().collect();
    interfaces.sort_by_key(|interface| interface.index);
    Ok(interfaces)
}

/// The addresses of all interfaces that are up, loopback included.
pub fn addresses() -> Result<Vec<IpAddr>, NetError> {
    Ok(list()?.into_iter().filter(|interface| interface.up).flat_map(|interface| interface.addresses).collect())
}

/// The kernel's number of an interface. The error names those there are.
pub fn index_of(name: &str) -> Result<u32, NetError> {
    index(name).map_err(|error| {
        let names: Vec<String> = list().unwrap_or_default().into_iter().map(|interface| interface.name).collect();
        NetError::new("looking up the network interface", format!("'{name}' (there are: {})", names.join(", ")), error)
    })
}

fn index(name: &str) -> io::Result<u32> {
    let name = CString::new(name).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    // SAFETY: a live NUL-terminated string.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// What getifaddrs(3) allocated.
struct AddressList(*mut libc::ifaddrs);

impl AddressList {
    fn read() -> io::Result<AddressList> {
        let mut first = std::ptr::null_mut();
        // SAFETY: the function writes one pointer, to a list that `drop` frees.
        sys::check(unsafe { libc::getifaddrs(&mut first) }).map(|_| AddressList(first))
    }

    fn entries(&self) -> impl Iterator<Item = (String, u32, Option<IpAddr>)> {
        let mut at = self.0;
        std::iter::from_fn(move || {
            if at.is_null() {
                return None;
            }
            // SAFETY: non-null links of the list point at whole entries, which live until `drop`.
            let entry = unsafe { &*at };
            at = entry.ifa_next;
            // SAFETY: the name is a NUL-terminated string of the same lifetime.
            let name = unsafe { CStr::from_ptr(entry.ifa_name) }.to_string_lossy().into_owned();
            Some((name, entry.ifa_flags, address_of(entry)))
        })
    }
}

fn address_of(entry: &libc::ifaddrs) -> Option<IpAddr> {
    if entry.ifa_addr.is_null() {
        return None;
    }
    // SAFETY: a non-null address starts with its family, which says how long it is.
    let family = i32::from(unsafe { (*entry.ifa_addr).sa_family });
    let length = match family {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
        _ => return None,
    };
    let mut raw = RawAddress::ZERO;
    // SAFETY: `length` bytes of that family's sockaddr are there, and fit into a RawAddress, which has room for either.
    unsafe { std::ptr::copy_nonoverlapping(entry.ifa_addr.cast::<u8>(), (&raw mut raw).cast::<u8>(), length) };
    raw.to_address(length as libc::socklen_t).map(|address| address.ip())
}

impl Drop for AddressList {
    fn drop(&mut self) {
        // SAFETY: from getifaddrs, freed once.
        unsafe { libc::freeifaddrs(self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_listed() {
        let interfaces = list().unwrap();
        let loopback = interfaces.iter().find(|interface| interface.name == "lo").expect("lo exists everywhere");
        assert!(loopback.loopback);
        assert_eq!(loopback.index, index_of("lo").unwrap());
        assert_eq!(loopback.index, 1);
    }

    #[test]
    fn a_missing_interface_is_named_beside_those_there_are() {
        for name in ["no-such-if", "nul\0byte"] {
            let error = index_of(name).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
            assert!(error.to_string().contains(name) && error.to_string().contains("lo"), "{error}");
        }
    }
}
