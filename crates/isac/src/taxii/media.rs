//! Media types (section 1.6.8): what a client takes and what it sends.

use http::{HeaderMap, StatusCode, header};

use super::error::TaxiiError;

/// The media type of every TAXII resource.
pub const TAXII_JSON: &str = "application/taxii+json;version=2.1";
/// The media type of the objects within.
pub const STIX_JSON: &str = "application/stix+json;version=2.1";

/// A media range: type, `version` if it says one, whether its weight is above zero.
fn range(text: &str) -> (String, Option<String>, bool) {
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
    let (mut version, mut taken) = (None, true);
    for part in parts {
        let Some((name, value)) = part.split_once('=') else {
            continue;
        };
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "version" => version = Some(value.to_owned()),
            "q" => taken = value.parse::<f32>().is_ok_and(|weight| weight > 0.0),
            _ => {}
        }
    }
    (kind, version, taken)
}

/// Whether the client takes `application/taxii+json` of version 2.1.
///
/// # Errors
/// 406 when it does not.
pub fn check_accept(headers: &HeaderMap) -> Result<(), TaxiiError> {
    let mut any = false;
    for value in headers.get_all(header::ACCEPT) {
        any = true;
        // Not text: no range that is known here.
        for part in value.to_str().unwrap_or_default().split(',') {
            let (kind, version, taken) = range(part);
            let kind_fits = matches!(
                kind.as_str(),
                "application/taxii+json" | "application/*" | "*/*"
            );
            if taken && kind_fits && version.is_none_or(|version| version == "2.1") {
                return Ok(());
            }
        }
    }
    // Without the header, anything is taken (RFC 9110 section 12.5.1).
    if !any {
        return Ok(());
    }
    Err(TaxiiError::new(
        StatusCode::NOT_ACCEPTABLE,
        "Not acceptable",
        format!("Accept must hold {TAXII_JSON}"),
    ))
}

/// Whether the body is said to be TAXII 2.1.
///
/// # Errors
/// 415 when it is not.
pub fn check_content_type(headers: &HeaderMap) -> Result<(), TaxiiError> {
    let refuse = |what: &str| {
        Err(TaxiiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Media type not supported",
            format!("{what} must be {TAXII_JSON}"),
        ))
    };
    if headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|coding| coding.as_bytes() != b"identity")
    {
        return Err(TaxiiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Media type not supported",
            "Content-Encoding must be absent",
        ));
    }
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return refuse("Content-Type");
    };
    let (kind, version, _) = range(value.to_str().unwrap_or_default());
    if kind == "application/taxii+json" && version.is_none_or(|version| version == "2.1") {
        return Ok(());
    }
    refuse("Content-Type")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn accept_and_content_type_are_exact() {
        for (accept, good) in [
            ("application/taxii+json;version=2.1", true),
            ("application/taxii+json; version=2.1", true),
            ("application/taxii+json", true),
            (
                "text/html, application/taxii+json;version=\"2.1\";q=0.5",
                true,
            ),
            ("*/*", true),
            ("application/taxii+json;version=2.0", false),
            ("application/vnd.oasis.taxii+json; version=2.0", false),
            ("application/taxii+json;q=0", false),
            ("application/json", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(check_accept(&headers).is_ok(), good, "{accept}");
        }
        assert!(check_accept(&HeaderMap::new()).is_ok());
        for (kind, good) in [
            ("application/taxii+json;version=2.1", true),
            ("application/taxii+json", true),
            ("application/taxii+json;version=2.2", false),
            ("application/stix+json;version=2.1", false),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(check_content_type(&headers).is_ok(), good, "{kind}");
        }
        assert!(check_content_type(&HeaderMap::new()).is_err());
    }
}
