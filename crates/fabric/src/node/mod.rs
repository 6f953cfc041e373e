//! The node's side: an identity in a folder, and a [`Link`] to the control plane.
//!
//! ```no_run
//! # async fn example(stop: tokio_util::sync::CancellationToken) -> Result<(), Box<dyn std::error::Error>> {
//! use base::{Role, delivery::EdgeSnapshot};
//! use fabric::node::{LinkOptions, Node};
//!
//! let node = match Node::open("var/edge".as_ref())? {
//!     Some(node) => node,
//!     None => Node::enrol("var/edge".as_ref(), &["https://127.0.0.1:7443".into()], &"cn1.…".parse()?).await?,
//! };
//! let mut link = node.link(LinkOptions::new("civicnet 0.1.0"))?;
//! let snapshots = link.snapshots(Role::Edge, |_: &EdgeSnapshot| Ok(()))?;
//! tokio::spawn(link.run(stop));
//! // `snapshots` already shows the last good one from disk.
//! # Ok(()) }
//! ```
//!
//! **Architecture invariant**: nothing here waits for the control plane before the
//! data plane may serve. With it dead, the link keeps dialling in its own tasks.

use std::path::Path;
use std::sync::Arc;

use base::{NodeName, Role};
use hyper::Method;

use crate::api::{EnrolReply, EnrolRequest};
use crate::envelope::{EnvelopeError, PublicKey};
use crate::pki::{self, PkiError};
use crate::tls::{self, TlsError};
use crate::token::EnrolToken;

mod backoff;
mod client;
mod disk;
mod events;
mod heartbeat;
mod link;
mod quick;
mod reports;
mod snapshots;

pub use client::LinkError;
pub use disk::DiskError;
pub use events::EventSource;
pub use link::{Link, LinkOptions, LinkStatus};
pub use quick::{Progress, QuickHandler};
pub use snapshots::Snapshot;

use client::{Channel, Dialer};
use disk::{Disk, IdentityFile};

/// Why a node cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The folder.
    #[error("node folder cannot be used")]
    Disk(#[from] DiskError),
    /// Keys or certificates.
    #[error("node certificate cannot be used")]
    Pki(#[from] PkiError),
    /// TLS.
    #[error("node identity cannot be used for TLS")]
    Tls(#[from] TlsError),
    /// The snapshot key.
    #[error("snapshot key of this node cannot be used")]
    Key(#[from] EnvelopeError),
    /// The control plane.
    #[error("control plane did not do its part")]
    Link(#[from] LinkError),
    /// Enrolled already.
    #[error("{0:?} already holds an enrolled node: use another folder, or remove it first")]
    AlreadyEnrolled(String),
    /// What the control plane gave does not fit the token or the request.
    #[error("control plane's answer to the enrolment is refused: {0}")]
    Answer(&'static str),
    /// A role that this node was not given.
    #[error("node {node} is not enrolled for role {role}")]
    NotItsRole {
        /// The node.
        node: NodeName,
        /// The role.
        role: Role,
    },
}

/// An enrolled node.
pub struct Node {
    pub(crate) disk: Arc<Disk>,
    pub(crate) identity: IdentityFile,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.identity.node)
            .field("roles", &self.identity.roles)
            .finish_non_exhaustive()
    }
}

impl Node {
    /// The node that lives in `dir`; none when nobody enrolled there.
    ///
    /// # Errors
    /// When the folder cannot be read or what it holds is damaged.
    pub fn open(dir: &Path) -> Result<Option<Self>, NodeError> {
        let disk = Disk::open(dir)?;
        Ok(disk.identity()?.map(|identity| Self {
            disk: Arc::new(disk),
            identity,
        }))
    }

    /// Enrols a new node in `dir` with a one-time token. The URLs are kept and tried
    /// in order ever after.
    ///
    /// # Errors
    /// When the folder holds a node already, the control server does not show the
    /// token's pin, or refuses the token. Nothing is kept then.
    pub async fn enrol(
        dir: &Path,
        control_urls: &[String],
        token: &EnrolToken,
    ) -> Result<Self, NodeError> {
        let disk = Disk::open(dir)?;
        if disk.identity()?.is_some() {
            return Err(NodeError::AlreadyEnrolled(dir.display().to_string()));
        }
        let (key_pem, csr_pem) = pki::key_and_request()?;
        let dialer = Dialer::new(control_urls, tls::pinned_client(token.pin())?)?;
        let request = EnrolRequest {
            secret: token.secret_text(),
            node: None,
            csr_pem,
        };
        let reply: EnrolReply = Channel::new(Arc::new(dialer))
            .call(Method::POST, "/v1/enrol", &request)
            .await?;
        check_reply(&reply, token)?;
        let identity = IdentityFile {
            node: reply.node,
            roles: reply.roles,
            control_urls: control_urls.to_vec(),
            ca_pem: reply.ca_pem,
            certificate_pem: reply.certificate_pem,
            key_pem,
            snapshot_key: reply.snapshot_key,
        };
        // Proves that key, certificate and CA fit together before anything is kept.
        tls::node_client(
            &identity.ca_pem,
            &identity.certificate_pem,
            &identity.key_pem,
        )?;
        disk.write_identity(&identity)?;
        tracing::info!(node = %identity.node, "Enrolled");
        Ok(Self {
            disk: Arc::new(disk),
            identity,
        })
    }

    /// Its name.
    pub fn name(&self) -> &NodeName {
        &self.identity.node
    }

    /// Its roles.
    pub fn roles(&self) -> &[Role] {
        &self.identity.roles
    }

    /// Prepares the link; nothing is dialled before [`Link::run`].
    ///
    /// # Errors
    /// When the identity is damaged.
    pub fn link(self, options: LinkOptions) -> Result<Link, NodeError> {
        Link::new(self, options)
    }
}

fn check_reply(reply: &EnrolReply, token: &EnrolToken) -> Result<(), NodeError> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;
    let certificate = |pem: &str| {
        CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| NodeError::Pki(PkiError::Pem(error)))
    };
    if pki::pin_of(&certificate(&reply.ca_pem)?)? != token.pin() {
        return Err(NodeError::Answer(
            "its CA is not the one pinned in the token",
        ));
    }
    if pki::identity_of(&certificate(&reply.certificate_pem)?)?.node != reply.node {
        return Err(NodeError::Answer("the certificate bears another name"));
    }
    if reply.roles.is_empty() {
        return Err(NodeError::Answer("it gives no role"));
    }
    PublicKey::from_text(&reply.snapshot_key)?;
    Ok(())
}
