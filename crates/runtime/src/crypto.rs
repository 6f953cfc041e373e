//! The one cryptographic provider of the process.

/// Makes `ring` the default provider of rustls. Call it before any TLS or HTTP
/// client is built; calling it again does nothing.
pub fn install_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread was faster, which is as good.
        let installed = rustls::crypto::ring::default_provider().install_default();
        if installed.is_err() {
            tracing::debug!("a cryptographic provider is installed already");
        }
    }
}
