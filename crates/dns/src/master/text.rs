//! Single words of master files that stand for numbers or bytes.

/// DNSSEC algorithms (IANA "DNS Security Algorithm Numbers").
const ALGORITHMS: [(&str, u8); 17] = [
    ("DELETE", 0),
    ("RSAMD5", 1),
    ("DH", 2),
    ("DSA", 3),
    ("RSASHA1", 5),
    ("DSA-NSEC3-SHA1", 6),
    ("RSASHA1-NSEC3-SHA1", 7),
    ("RSASHA256", 8),
    ("RSASHA512", 10),
    ("ECC-GOST", 12),
    ("ECDSAP256SHA256", 13),
    ("ECDSAP384SHA384", 14),
    ("ED25519", 15),
    ("ED448", 16),
    ("INDIRECT", 252),
    ("PRIVATEDNS", 253),
    ("PRIVATEOID", 254),
];

/// Certificate types (RFC 4398 section 2.1).
const CERTIFICATE_TYPES: [(&str, u16); 10] = [
    ("PKIX", 1),
    ("SPKI", 2),
    ("PGP", 3),
    ("IPKIX", 4),
    ("ISPKI", 5),
    ("IPGP", 6),
    ("ACPKIX", 7),
    ("IACPKIX", 8),
    ("URI", 253),
    ("OID", 254),
];

/// The number that stands there, or that of a name.
pub(super) fn named<T: Copy + std::str::FromStr>(text: &str, names: &[(&str, T)]) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    names
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text))
        .map(|(_, number)| *number)
}

pub(super) fn algorithm(text: &str) -> Option<u8> {
    named(text, &ALGORITHMS)
}

pub(super) fn certificate_type(text: &str) -> Option<u16> {
    named(text, &CERTIFICATE_TYPES)
}

/// RFC 4034 section 3.2: fourteen digits are a date in UTC, up to ten are seconds.
pub(super) fn signature_time(text: &str) -> Option<u32> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if text.len() != 14 {
        return text.parse().ok();
    }
    let part = |at: usize, length: usize| text[at..at + length].parse::<u64>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 2)?, part(6, 2)?);
    let (hour, minute, second) = (part(8, 2)?, part(10, 2)?, part(12, 2)?);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let month_days = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    // A second of 60 is a leap second.
    if !(1970..=2106).contains(&year)
        || !(1..=month_days).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    // Days before the month in a year that begins with March.
    let (years, months) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = years * 365 + years / 4 - years / 100 + years / 400
        + (153 * months + 2) / 5
        + day
        - 1
        // From 1 March of year 0 to 1 January 1970.
        - 719_468;
    u32::try_from(((days * 24 + hour) * 60 + minute) * 60 + second).ok()
}

/// `-`, or hexadecimal digits; after its length.
pub(super) fn salt(text: &str) -> Option<Vec<u8>> {
    match text {
        "-" => Some(vec![0]),
        _ => with_length(&hex(text)?),
    }
}

/// Base 32 with the extended hex alphabet, without padding (RFC 4648 section 7); after
/// its length.
pub(super) fn base32(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut bits, mut held) = (0_u32, 0);
    for digit in text.chars() {
        bits = bits << 5 | digit.to_digit(32)?;
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    // What is left is less than a digit, and zero.
    (!bytes.is_empty() && held < 5 && bits & ((1 << held) - 1) == 0)
        .then(|| with_length(&bytes))
        .flatten()
}

fn with_length(bytes: &[u8]) -> Option<Vec<u8>> {
    let length = u8::try_from(bytes.len()).ok()?;
    Some([&[length], bytes].concat())
}

/// An even number of hexadecimal digits, at least two.
pub(super) fn hex(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() || !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes()
        .chunks(2)
        .map(|pair| {
            let high = char::from(pair[0]).to_digit(16)?;
            Some((high << 4 | char::from(pair[1]).to_digit(16)?) as u8)
        })
        .collect()
}

/// Bytes of two digits each with `-` between them.
pub(super) fn eui(text: &str) -> Option<Vec<u8>> {
    text.split('-')
        .map(|byte| hex(byte).filter(|bytes| bytes.len() == 1))
        .collect::<Option<Vec<_>>>()
        .map(|bytes| bytes.concat())
}

/// Four groups of up to four hexadecimal digits with `:` between them.
pub(super) fn groups(text: &str) -> Option<Vec<u8>> {
    let groups: Option<Vec<[u8; 2]>> = text
        .split(':')
        .map(|group| {
            let right = (1..=4).contains(&group.len())
                && group.bytes().all(|byte| byte.is_ascii_hexdigit());
            let number = right
                .then(|| u16::from_str_radix(group, 16).ok())
                .flatten()?;
            Some(number.to_be_bytes())
        })
        .collect();
    groups
        .filter(|groups| groups.len() == 4)
        .map(|groups| groups.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_seconds_since_1970() {
        for (text, seconds) in [
            ("19700101000000", Some(0)),
            // The example of RFC 4034 section 3.3.
            ("20030322173103", Some(1_048_354_263)),
            ("20240229235959", Some(1_709_251_199)),
            ("21060207062815", Some(u32::MAX)),
            ("21060207062816", None),
            ("20230229000000", None),
            ("20231301000000", None),
            ("20230100000000", None),
            ("1048354263", Some(1_048_354_263)),
            ("4294967296", None),
            ("+1", None),
            ("", None),
        ] {
            assert_eq!(signature_time(text), seconds, "{text}");
        }
    }

    #[test]
    fn words_stand_for_bytes() {
        assert_eq!(algorithm("rsasha256"), Some(8));
        assert_eq!(algorithm("256"), None);
        assert_eq!(certificate_type("PKIX"), Some(1));
        assert_eq!(salt("-"), Some(vec![0]));
        assert_eq!(salt("aabb"), Some(vec![2, 0xaa, 0xbb]));
        assert_eq!(salt("abc"), None);
        assert_eq!(base32("CPNMU"), Some(vec![3, 0x66, 0x6f, 0x6f]));
        for bad in ["", "C", "CPNMV", "CPNMW===", "日"] {
            assert_eq!(base32(bad), None, "{bad}");
        }
        assert_eq!(eui("00-1a"), Some(vec![0, 0x1a]));
        assert_eq!(eui("00-1"), None);
        assert_eq!(
            groups("14:4fff:0:ee64"),
            Some(vec![0, 0x14, 0x4f, 0xff, 0, 0, 0xee, 0x64])
        );
        for bad in ["1:2:3", "1:2:3:4:5", "1:2:3:+4", "1::2:3", "1:2:3:12345"] {
            assert_eq!(groups(bad), None, "{bad}");
        }
    }
}
