//! The `store` section.

use std::fmt;
use std::path::PathBuf;

use runtime::config::{Check, Checker};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Connections of one pool.
const CONNECTIONS_MAX: u32 = 100;

/// Database, keys and files of the control plane.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Database: `sqlite:` and a path, or `postgres://user:password@host/database`.
    pub url: String,
    /// Connections for reading; on PostgreSQL as many again may write.
    pub connections: u32,
    /// How long a request waits for a connection or for its turn to write, in
    /// milliseconds.
    pub wait_ms: u64,
    /// File with the keys of encrypted fields; created at the first start. Losing
    /// it loses the secrets and personal data in the database: back it up apart
    /// from the database.
    pub key_file: PathBuf,
    /// File to which the head of the audit trail is written from time to time, so
    /// that a rewritten trail is found out.
    pub audit_anchor_file: PathBuf,
    /// Where files are kept.
    pub blobs: BlobsConfig,
}

/// Where files (attachments, exports) are kept: a directory, or a bucket of an
/// S3-compatible service when `s3_bucket` is set.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BlobsConfig {
    /// Directory, used unless a bucket is named.
    pub dir: PathBuf,
    /// Bucket of an S3-compatible service.
    pub s3_bucket: Option<String>,
    /// Address of the service, such as `https://s3.example.tw`.
    pub s3_endpoint: Option<String>,
    /// Region that requests are signed for.
    pub s3_region: String,
    /// Access key id.
    pub s3_access_key: Option<String>,
    /// Secret access key; better given as `CIVICNET__STORE__BLOBS__S3_SECRET_KEY`.
    pub s3_secret_key: Option<String>,
    /// What every key begins with, so that several systems can share a bucket.
    pub s3_prefix: String,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            url: "sqlite:var/control.db".to_owned(),
            connections: 8,
            wait_ms: 30_000,
            key_file: "var/keys.toml".into(),
            audit_anchor_file: "var/audit-anchors.jsonl".into(),
            blobs: BlobsConfig::default(),
        }
    }
}

impl Default for BlobsConfig {
    fn default() -> Self {
        Self {
            dir: "var/blobs".into(),
            s3_bucket: None,
            s3_endpoint: None,
            s3_region: "us-east-1".to_owned(),
            s3_access_key: None,
            s3_secret_key: None,
            s3_prefix: String::new(),
        }
    }
}

impl Check for StoreConfig {
    fn check(&self, at: &mut Checker) {
        at.require(
            crate::db::backend_of(&self.url).is_some(),
            "url",
            "must begin with sqlite: and a path, or with postgres://",
        );
        at.require(
            (1..=CONNECTIONS_MAX).contains(&self.connections),
            "connections",
            format!("must be from 1 to {CONNECTIONS_MAX}"),
        );
        at.require(
            (100..=600_000).contains(&self.wait_ms),
            "wait_ms",
            "must be from 100 to 600000",
        );
        at.section("blobs", &self.blobs);
    }
}

impl Check for BlobsConfig {
    fn check(&self, at: &mut Checker) {
        let Some(bucket) = &self.s3_bucket else {
            return;
        };
        at.require(!bucket.is_empty(), "s3_bucket", "must not be empty");
        at.require(
            self.s3_access_key.is_some() == self.s3_secret_key.is_some(),
            "s3_access_key",
            "must be given together with s3_secret_key",
        );
        if let Some(endpoint) = &self.s3_endpoint {
            at.require(
                endpoint.starts_with("http://") || endpoint.starts_with("https://"),
                "s3_endpoint",
                "must be an http:// or https:// address",
            );
        }
    }
}

const HIDDEN: &str = "(hidden)";

/// Without the password in the address.
impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = match (self.url.split_once("://"), self.url.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, place))) => format!("{scheme}://{HIDDEN}@{place}"),
            _ => self.url.clone(),
        };
        f.debug_struct("StoreConfig")
            .field("url", &url)
            .field("connections", &self.connections)
            .field("wait_ms", &self.wait_ms)
            .field("key_file", &self.key_file)
            .field("audit_anchor_file", &self.audit_anchor_file)
            .field("blobs", &self.blobs)
            .finish()
    }
}

/// Without the secret key.
impl fmt::Debug for BlobsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobsConfig")
            .field("dir", &self.dir)
            .field("s3_bucket", &self.s3_bucket)
            .field("s3_endpoint", &self.s3_endpoint)
            .field("s3_region", &self.s3_region)
            .field("s3_access_key", &self.s3_access_key)
            .field(
                "s3_secret_key",
                &self.s3_secret_key.as_ref().map(|_| HIDDEN),
            )
            .field("s3_prefix", &self.s3_prefix)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_wrong_values_are_named() {
        assert!(runtime::config::check(&StoreConfig::default()).is_empty());
        let wrong = StoreConfig {
            url: "mysql://x".to_owned(),
            connections: 0,
            wait_ms: 1,
            blobs: BlobsConfig {
                s3_bucket: Some(String::new()),
                s3_access_key: Some("id".to_owned()),
                s3_endpoint: Some("s3.example.tw".to_owned()),
                ..BlobsConfig::default()
            },
            ..StoreConfig::default()
        };
        let keys: Vec<String> = runtime::config::check(&wrong)
            .into_iter()
            .map(|finding| finding.key.to_string())
            .collect();
        assert_eq!(
            keys,
            [
                "url",
                "connections",
                "wait_ms",
                "blobs.s3_bucket",
                "blobs.s3_access_key",
                "blobs.s3_endpoint"
            ]
        );
    }

    #[test]
    fn passwords_are_not_shown() {
        let config = StoreConfig {
            url: "postgres://civicnet:hunter2@db/civicnet".to_owned(),
            blobs: BlobsConfig {
                s3_secret_key: Some("hunter3".to_owned()),
                ..BlobsConfig::default()
            },
            ..StoreConfig::default()
        };
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter"), "{shown}");
        assert!(shown.contains("@db/civicnet"), "{shown}");
    }
}
