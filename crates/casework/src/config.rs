//! Configuration section `casework`.

use base::Prefix;
use runtime::config::{Check, Checker};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Cases and their notifications.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CaseworkConfig {
    /// Address of the console as people reach it, for links in mail.
    pub console_url: String,
    /// Bytes of one attachment.
    pub attachment_bytes_max: u64,
    /// Attachments of one case.
    pub attachments_max: u32,
    /// Mail; none is sent while `host` is empty.
    pub smtp: SmtpConfig,
    /// Prefixes that web hooks and other outgoing requests may reach although they
    /// are not public, such as `127.0.0.0/8` in a sandbox.
    pub allow_private: Vec<Prefix>,
}

impl Default for CaseworkConfig {
    fn default() -> Self {
        Self {
            console_url: "http://127.0.0.1:8000".into(),
            attachment_bytes_max: 10 * 1024 * 1024,
            attachments_max: 20,
            smtp: SmtpConfig::default(),
            allow_private: Vec::new(),
        }
    }
}

/// How mail is handed over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SmtpConfig {
    /// The submission server; empty: no mail is sent.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether and how the connection is encrypted.
    pub encryption: SmtpEncryption,
    /// User name; empty: no login.
    pub user: String,
    /// File that holds the password, one line.
    pub password_file: String,
    /// Sender: `civicnet <no-reply@civicnet.example>`.
    pub from: String,
}

impl Default for SmtpConfig {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 587,
            encryption: SmtpEncryption::Starttls,
            user: String::new(),
            password_file: String::new(),
            from: "civicnet <no-reply@localhost.localdomain>".into(),
        }
    }
}

/// Encryption of the connection to the submission server (RFC 8314).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SmtpEncryption {
    /// None: only for a server on the same machine.
    None,
    /// STARTTLS, required.
    Starttls,
    /// TLS from the first byte.
    Tls,
}

impl Check for CaseworkConfig {
    fn check(&self, at: &mut Checker) {
        let console = url::Url::parse(&self.console_url);
        at.require(
            console.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()),
            "console_url",
            "must be an http:// or https:// URL",
        );
        at.require(
            (1..=100 << 20).contains(&self.attachment_bytes_max),
            "attachment_bytes_max",
            "must be 1 byte to 100 MiB",
        );
        at.require(
            (1..=1_000).contains(&self.attachments_max),
            "attachments_max",
            "must be 1 to 1000",
        );
        at.section("smtp", &self.smtp);
    }
}

impl Check for SmtpConfig {
    fn check(&self, at: &mut Checker) {
        at.require(self.port != 0, "port", "must not be 0");
        at.require(
            self.from.parse::<lettre::message::Mailbox>().is_ok(),
            "from",
            "must be a mailbox such as \"civicnet <no-reply@agency.example>\"",
        );
        at.require(
            self.user.is_empty() || !self.password_file.is_empty(),
            "password_file",
            "must name the file with the password of `user`",
        );
    }
}
