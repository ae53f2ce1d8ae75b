//! Records in a file: length (u32, little-endian), CRC-32 (IEEE 802.3) of the bytes, the bytes. What a crash tore off is
//! recognised by either and ends the file.

/// Longer records are not ours; a length above it is a torn or foreign header.
pub(crate) const MAX_RECORD: usize = 4 << 20;
pub(crate) const HEADER: usize = 8;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)])
}

pub(crate) fn header(record: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&(record.len() as u32).to_le_bytes());
    header[4..].copy_from_slice(&crc32(record).to_le_bytes());
    header
}

/// Length and checksum; `None` where no record of ours can follow.
pub(crate) fn parse_header(header: &[u8; HEADER]) -> Option<(usize, u32)> {
    let [a, b, c, d, e, f, g, h] = *header;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    (1..=MAX_RECORD).contains(&length).then_some((length, u32::from_le_bytes([e, f, g, h])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_ieee_802_3() {
        // The check value of the CRC catalogue.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }
}
