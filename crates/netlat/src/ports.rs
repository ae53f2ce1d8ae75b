//! Ports as the command line takes them: `443`, `50000-50019`.

use std::str::FromStr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRange(pub Vec<u16>);

impl FromStr for PortRange {
    type Err = String;
    fn from_str(text: &str) -> Result<PortRange, String> {
        let port = |text: &str| {
            let number: Option<u16> = text.trim().parse().ok().filter(|port| *port > 0);
            number
                .ok_or_else(|| format!("'{}' is no port: give 1 to 65535, or a range such as 50000-50019", text.trim()))
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (port(first)?, port(last)?),
            None => (port(text)?, port(text)?),
        };
        if last < first || usize::from(last - first) >= 64 {
            return Err(format!("'{text}' is no range of 1 to 64 ports"));
        }
        Ok(PortRange((first..=last).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_ranges() {
        assert_eq!("443".parse(), Ok(PortRange(vec![443])));
        assert_eq!("50000-50002".parse(), Ok(PortRange(vec![50_000, 50_001, 50_002])));
        for wrong in ["", "0", "70000", "5-3", "1-1000", "a-b"] {
            assert!(wrong.parse::<PortRange>().is_err(), "{wrong}");
        }
    }
}
