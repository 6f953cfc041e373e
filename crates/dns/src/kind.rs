//! Numbers of the protocol: types, classes, response codes, header bits (IANA "Domain
//! Name System (DNS) Parameters").

use std::fmt;

/// A TYPE or QTYPE (RFC 1035 section 3.2.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(pub u16);

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal),* $(,)?) => {
        impl Kind {
            $($(#[$doc])* pub const $name: Self = Self($number);)*

            /// The mnemonic, if this house knows one.
            pub const fn mnemonic(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            fn by_mnemonic(text: &str) -> Option<Self> {
                $(if text.eq_ignore_ascii_case(stringify!($name)) {
                    return Some(Self($number));
                })*
                None
            }
        }
    };
}

kinds! {
    /// RFC 1035
    A = 1,
    /// RFC 1035
    NS = 2,
    /// RFC 1035, obsolete
    MD = 3,
    /// RFC 1035, obsolete
    MF = 4,
    /// RFC 1035
    CNAME = 5,
    /// RFC 1035
    SOA = 6,
    /// RFC 1035
    MB = 7,
    /// RFC 1035
    MG = 8,
    /// RFC 1035
    MR = 9,
    /// RFC 1035
    NULL = 10,
    /// RFC 1035
    WKS = 11,
    /// RFC 1035
    PTR = 12,
    /// RFC 1035
    HINFO = 13,
    /// RFC 1035
    MINFO = 14,
    /// RFC 1035
    MX = 15,
    /// RFC 1035
    TXT = 16,
    /// RFC 1183
    RP = 17,
    /// RFC 1183
    AFSDB = 18,
    /// RFC 1183
    X25 = 19,
    /// RFC 1183
    ISDN = 20,
    /// RFC 1183
    RT = 21,
    /// RFC 2535
    SIG = 24,
    /// RFC 2535
    KEY = 25,
    /// RFC 2163
    PX = 26,
    /// RFC 1712
    GPOS = 27,
    /// RFC 3596
    AAAA = 28,
    /// RFC 1876
    LOC = 29,
    /// RFC 2782
    SRV = 33,
    /// RFC 3403
    NAPTR = 35,
    /// RFC 2230
    KX = 36,
    /// RFC 4398
    CERT = 37,
    /// RFC 6672
    DNAME = 39,
    /// RFC 6891
    OPT = 41,
    /// RFC 3123
    APL = 42,
    /// RFC 4034
    DS = 43,
    /// RFC 4255
    SSHFP = 44,
    /// RFC 4025
    IPSECKEY = 45,
    /// RFC 4034
    RRSIG = 46,
    /// RFC 4034
    NSEC = 47,
    /// RFC 4034
    DNSKEY = 48,
    /// RFC 4701
    DHCID = 49,
    /// RFC 5155
    NSEC3 = 50,
    /// RFC 5155
    NSEC3PARAM = 51,
    /// RFC 6698
    TLSA = 52,
    /// RFC 8162
    SMIMEA = 53,
    /// RFC 8005
    HIP = 55,
    /// Draft, IANA 2008
    NINFO = 56,
    /// Draft, IANA 2008
    RKEY = 57,
    /// Draft, IANA 2010
    TALINK = 58,
    /// RFC 7344
    CDS = 59,
    /// RFC 7344
    CDNSKEY = 60,
    /// RFC 7929
    OPENPGPKEY = 61,
    /// RFC 7477
    CSYNC = 62,
    /// RFC 8976
    ZONEMD = 63,
    /// RFC 9460
    SVCB = 64,
    /// RFC 9460
    HTTPS = 65,
    /// RFC 9859
    DSYNC = 66,
    /// RFC 7208, obsolete
    SPF = 99,
    /// RFC 6742
    NID = 104,
    /// RFC 6742
    L32 = 105,
    /// RFC 6742
    L64 = 106,
    /// RFC 6742
    LP = 107,
    /// RFC 7043
    EUI48 = 108,
    /// RFC 7043
    EUI64 = 109,
    /// RFC 8945
    TKEY = 249,
    /// RFC 8945
    TSIG = 250,
    /// RFC 1995
    IXFR = 251,
    /// RFC 5936
    AXFR = 252,
    /// RFC 1035
    MAILB = 253,
    /// RFC 1035
    MAILA = 254,
    /// RFC 1035, RFC 8482
    ANY = 255,
    /// RFC 7553
    URI = 256,
    /// RFC 8659
    CAA = 257,
    /// Cisco, IANA 2016
    AVC = 258,
    /// RFC 9606
    RESINFO = 261,
    /// IANA 2005
    TA = 32768,
    /// RFC 4431, obsolete
    DLV = 32769,
}

impl Kind {
    /// Whether it is a QTYPE or meta-type, which no zone can hold (RFC 6895 section 3.1).
    pub const fn is_meta(self) -> bool {
        matches!(self.0, 0 | 41 | 128..=255)
    }

    /// Reads a mnemonic or `TYPE123` (RFC 3597 section 5).
    pub fn parse(text: &str) -> Option<Self> {
        Self::by_mnemonic(text).or_else(|| {
            let number = text
                .get(..4)?
                .eq_ignore_ascii_case("TYPE")
                .then(|| &text[4..])?;
            (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
                .then(|| number.parse().ok())
                .flatten()
                .map(Self)
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic() {
            Some(text) => f.write_str(text),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Class IN (RFC 1035 section 3.2.4).
pub const CLASS_IN: u16 = 1;
/// Any class, as QCLASS (RFC 1035 section 3.2.5).
pub const CLASS_ANY: u16 = 255;

/// Response codes, extended ones included (RFC 6895 section 2.3).
pub mod rcode {
    /// No error.
    pub const NOERROR: u16 = 0;
    /// The query could not be read.
    pub const FORMERR: u16 = 1;
    /// The server failed.
    pub const SERVFAIL: u16 = 2;
    /// The name does not exist.
    pub const NXDOMAIN: u16 = 3;
    /// That kind of query is not supported.
    pub const NOTIMP: u16 = 4;
    /// Not for policy reasons.
    pub const REFUSED: u16 = 5;
    /// A name would become too long (RFC 6672 section 2.2).
    pub const YXDOMAIN: u16 = 6;
    /// Not authorised (RFC 8945 section 5.2).
    pub const NOTAUTH: u16 = 9;
    /// EDNS version not supported (RFC 6891 section 9).
    pub const BADVERS: u16 = 16;
    /// A good server cookie is wanted (RFC 7873 section 8).
    pub const BADCOOKIE: u16 = 23;

    /// The mnemonic.
    pub const fn name(code: u16) -> &'static str {
        match code {
            NOERROR => "NOERROR",
            FORMERR => "FORMERR",
            SERVFAIL => "SERVFAIL",
            NXDOMAIN => "NXDOMAIN",
            NOTIMP => "NOTIMP",
            REFUSED => "REFUSED",
            YXDOMAIN => "YXDOMAIN",
            NOTAUTH => "NOTAUTH",
            BADVERS => "BADVERS",
            BADCOOKIE => "BADCOOKIE",
            _ => "RCODE",
        }
    }
}

/// Bits of the header's second word (RFC 1035 section 4.1.1).
pub mod flag {
    /// This is a response.
    pub const QR: u16 = 0x8000;
    /// Authoritative answer.
    pub const AA: u16 = 0x0400;
    /// Truncated.
    pub const TC: u16 = 0x0200;
    /// Recursion desired.
    pub const RD: u16 = 0x0100;
    /// Where the opcode stands.
    pub const OPCODE: u16 = 0x7800;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_names_and_numbers() {
        assert_eq!(Kind::parse("aaaa"), Some(Kind::AAAA));
        assert_eq!(Kind::parse("TYPE65"), Some(Kind::HTTPS));
        assert_eq!(Kind::parse("type65280"), Some(Kind(65_280)));
        for bad in [
            "TYPE",
            "TYPE65536",
            "TYPE+1",
            "TYPE-1",
            "AAAAA",
            "",
            "日本語",
        ] {
            assert_eq!(Kind::parse(bad), None, "{bad}");
        }
        assert_eq!(Kind(65_280).to_string(), "TYPE65280");
        assert_eq!(Kind::HTTPS.to_string(), "HTTPS");
    }
}
