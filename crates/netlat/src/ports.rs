//! Ports and sizes as the command line takes them: `443`, `50000-50019`; `500kB`, `20MB`.

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

/// A number of bytes: a plain number, or with kB, MB or GB (powers of 1000).
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => Some(1.0),
        "k" | "kb" => Some(1e3),
        "m" | "mb" => Some(1e6),
        "g" | "gb" => Some(1e9),
        _ => None,
    };
    let number: Option<f64> = digits.trim().parse().ok();
    let bytes = factor.zip(number).map(|(factor, number)| number * factor);
    match bytes.filter(|bytes| (1e5..=1e12).contains(bytes)) {
        Some(bytes) => Ok(bytes as u64),
        None => Err(format!("'{text}' is no size: give bytes, kB, MB or GB, from 100kB to 1000GB")),
    }
}

/// `met`, or bits per second: `2M`, `500k`.
pub fn parse_load(text: &str) -> Result<worker::Load, String> {
    if text == "met" {
        return Ok(worker::Load::AsMet);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        _ => f64::NAN,
    };
    let rate = digits.parse::<f64>().unwrap_or(f64::NAN) * factor;
    if (64e3..=50e6).contains(&rate) {
        Ok(worker::Load::BitsPerSecond(rate))
    } else {
        Err(format!("'{text}' is no rate: give bits per second from 64k to 50M, or nothing"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_bytes("20MB"), Ok(20_000_000));
        assert_eq!(parse_bytes("1.5gb"), Ok(1_500_000_000));
        assert_eq!(parse_bytes("250000"), Ok(250_000));
        for wrong in ["", "MB", "20 furlongs", "1kB", "-5MB", "nanMB"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ports_and_ranges() {
        assert_eq!("443".parse(), Ok(PortRange(vec![443])));
        assert_eq!("50000-50002".parse(), Ok(PortRange(vec![50_000, 50_001, 50_002])));
        for wrong in ["", "0", "70000", "5-3", "1-1000", "a-b"] {
            assert!(wrong.parse::<PortRange>().is_err(), "{wrong}");
        }
    }
}
