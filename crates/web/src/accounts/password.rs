//! Passwords: Argon2id (RFC 9106), off the async threads, a few at a time.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Semaphore;

use crate::config::PasswordConfig;
use crate::problem::WebError;

/// Characters of a password at most, so that hashing stays bounded.
pub const PASSWORD_CHARS_MAX: usize = 256;
/// Passwords hashed at once; each takes the configured memory.
const AT_ONCE: usize = 4;

/// Hashes and checks passwords.
pub struct Hasher {
    argon: Argon2<'static>,
    turns: Semaphore,
    /// The hash of a password that nobody has: checked for unknown accounts, so
    /// that they take as long as known ones.
    nobody: String,
}

impl Hasher {
    /// A hasher with these parameters.
    ///
    /// # Errors
    /// When the parameters are beyond Argon2's.
    pub fn new(config: &PasswordConfig) -> Result<Self, WebError> {
        let params = Params::new(config.memory_kib, config.passes, config.lanes, None)
            .map_err(|error| WebError::internal(format!("web.password: {error}")))?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let nobody = hash(&argon, &crate::accounts::secret()?)?;
        Ok(Self {
            argon,
            turns: Semaphore::new(AT_ONCE),
            nobody,
        })
    }

    /// The hash of `password`, as a PHC string.
    ///
    /// # Errors
    /// 500 when hashing fails.
    pub async fn hash(&self, password: &str) -> Result<String, WebError> {
        let (argon, password) = (self.argon.clone(), password.to_owned());
        let _turn = self.turn().await?;
        tokio::task::spawn_blocking(move || hash(&argon, &password))
            .await
            .map_err(WebError::internal)?
    }

    /// Whether `password` is the one that was hashed; `None`, an account without
    /// one or no account, takes as long and is false.
    ///
    /// # Errors
    /// 500 when checking fails.
    pub async fn check(&self, password: &str, hashed: Option<&str>) -> Result<bool, WebError> {
        let known = hashed.is_some();
        let hashed = hashed.unwrap_or(&self.nobody).to_owned();
        let (argon, password) = (self.argon.clone(), password.to_owned());
        let _turn = self.turn().await?;
        let matches = tokio::task::spawn_blocking(move || {
            PasswordHash::new(&hashed)
                .map(|hashed| argon.verify_password(password.as_bytes(), &hashed).is_ok())
        })
        .await
        .map_err(WebError::internal)?
        .map_err(|error| WebError::internal(format!("stored password hash: {error}")))?;
        Ok(known && matches)
    }

    async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>, WebError> {
        self.turns.acquire().await.map_err(WebError::internal)
    }
}

fn hash(argon: &Argon2<'_>, password: &str) -> Result<String, WebError> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| WebError::internal("the system gives no random bytes"))?;
    let salt = SaltString::encode_b64(&bytes).map_err(WebError::internal)?;
    argon
        .hash_password(password.as_bytes(), &salt)
        .map(|hashed| hashed.to_string())
        .map_err(WebError::internal)
}
