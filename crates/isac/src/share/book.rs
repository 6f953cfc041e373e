//! Policies by version, what sources consent to, and the key of pseudonyms: the handle
//! from which lenses are made.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use base::{OrgId, Timestamp, UserId};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;
use store::{Actor, AuditEntry, Db, StoreError, Vault};

use super::lens::{Consents, Lens, key_of};
use super::names::{Known as Called, NAME_CHARS_MIN, NameSearch};
use super::policy::{Policy, Tier};
use crate::cert::{By, PUBLISHER};
use crate::kinds;
use crate::objects::hash64;

/// How long policy, consents and names are answered from memory.
pub const FRESH: Duration = Duration::from_secs(2);
/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Name of the key of pseudonyms.
const PSEUDONYMS: &str = "pseudonyms";
/// Authors whose names are read by one statement.
const AUTHORS_TOGETHER: usize = 100;
/// Versions of the policy that are listed.
const VERSIONS_MAX: i64 = 200;

/// Who the members are, by name; joined in the binary.
#[async_trait]
pub trait Members: Send + Sync {
    /// Every organisation with its names in all languages.
    async fn names(&self) -> Vec<(OrgId, Vec<String>)>;

    /// What else tells who an organisation is: e-mail addresses of its people, hosts of its
    /// sites.
    async fn addresses(&self) -> Vec<(OrgId, Vec<String>)> {
        Vec::new()
    }
}

/// A house whose members have no names to hide.
#[derive(Debug, Clone, Copy)]
pub struct NoMembers;

#[async_trait]
impl Members for NoMembers {
    async fn names(&self) -> Vec<(OrgId, Vec<String>)> {
        Vec::new()
    }
}

/// Why sharing did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// The database.
    #[error("the tables of sharing")]
    Store(#[from] StoreError),
    /// The key of pseudonyms.
    #[error("the key of pseudonyms")]
    Vault(#[from] store::vault::VaultError),
    /// A policy that breaks rules.
    #[error("the policy breaks {} rules", .0.len())]
    Policy(Vec<(String, String)>),
    /// What is kept or built in cannot be read.
    #[error("{0}")]
    Data(String),
    /// The store of objects.
    #[error(transparent)]
    Objects(#[from] crate::objects::ObjectsError),
}

impl From<sqlx::Error> for ShareError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A version of the policy in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its number; 0 is the one that is built in.
    pub version: i64,
    /// The document.
    pub policy: Policy,
    /// Who made it: `user:…`.
    pub made_by: String,
    /// When.
    pub made_at: Timestamp,
}

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Sharing {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    vault: Vault,
    members: Arc<dyn Members>,
    known: Mutex<Option<(Instant, Known)>>,
    /// By what members are known, and the search for it: made anew when a name changes.
    names: Mutex<Option<(Called, Arc<NameSearch>)>>,
    /// The house's own identity.
    house: OnceLock<House>,
    key: tokio::sync::OnceCell<hmac::Key>,
}

/// The house as others know it.
#[derive(Debug, Clone)]
struct House {
    name: String,
    identity: Arc<str>,
}

impl House {
    fn of(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            identity: kinds::centre_id(name).into(),
        }
    }
}

/// What lenses are made of.
#[derive(Clone)]
struct Known {
    version: i64,
    policy: Arc<Policy>,
    consents: Arc<HashMap<OrgId, Consents>>,
    names: Arc<NameSearch>,
}

impl std::fmt::Debug for Sharing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sharing")
    }
}

impl Sharing {
    /// The handle on the tables in `db`.
    pub fn new(db: Db, vault: Vault, members: Arc<dyn Members>) -> Self {
        Self {
            inner: Arc::new(Inner {
                db,
                vault,
                members,
                known: Mutex::new(None),
                names: Mutex::new(None),
                house: OnceLock::new(),
                key: tokio::sync::OnceCell::new(),
            }),
        }
    }

    /// Says what this house is called, which is hidden from nobody. The first call counts;
    /// until then it is called what houses are called that chose no name.
    pub fn call(&self, name: &str) {
        self.inner.house.get_or_init(|| House::of(name));
    }

    fn house(&self) -> &House {
        self.inner.house.get_or_init(|| House::of(PUBLISHER))
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.inner.db
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.db.clock().now()
    }

    /// What `audience` at `tier` sees; `own` is the organisation that it is, if any.
    ///
    /// # Errors
    /// When database or key cannot be read: then nothing is shown.
    pub async fn lens(
        &self,
        tier: Tier,
        audience: &str,
        own: Option<OrgId>,
    ) -> Result<Lens, ShareError> {
        let known = self.known().await?;
        Ok(Lens {
            tier,
            audience: audience.to_owned(),
            own,
            there: None,
            policy: known.policy,
            version: known.version,
            key: self.key().await?,
            consents: known.consents,
            names: known.names,
            house: self.house().identity.clone(),
            identities: HashMap::new(),
        })
    }

    /// What the organisation `org`, whose token reads here, sees.
    ///
    /// # Errors
    /// When database or key cannot be read.
    pub async fn lens_of(&self, org: Option<OrgId>) -> Result<Lens, ShareError> {
        let known = self.known().await?;
        let tier = org.map_or(Tier::Member, |org| known.policy.tier_of(org));
        let name = org.map(|org| org.to_string()).unwrap_or_default();
        self.lens(tier, &name, org).await
    }

    async fn known(&self) -> Result<Known, ShareError> {
        {
            let known = self
                .inner
                .known
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some((at, known)) = &*known
                && at.elapsed() < FRESH
            {
                return Ok(known.clone());
            }
        }
        let (version, policy) = self.policy().await?;
        let called = Called {
            names: self.inner.members.names().await,
            addresses: self.inner.members.addresses().await,
        };
        let known = Known {
            version,
            policy: Arc::new(policy),
            consents: Arc::new(self.consents().await?.into_iter().collect()),
            names: self.name_search(called),
        };
        let mut kept = self
            .inner
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *kept = Some((Instant::now(), known.clone()));
        Ok(known)
    }

    fn name_search(&self, called: Called) -> Arc<NameSearch> {
        let place = || {
            self.inner
                .names
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some((known, search)) = &*place()
            && *known == called
        {
            return search.clone();
        }
        let search = Arc::new(NameSearch::of(&called, &self.house().name));
        *place() = Some((called, search.clone()));
        search
    }

    /// Teaches `lens` the names of those who made the objects in `texts`, so that they
    /// are not named in them either. Read each time: a name that is learned late is told.
    ///
    /// # Errors
    /// When the database cannot be read: then nothing is shown.
    pub async fn know_authors<'a>(
        &self,
        lens: &mut Lens,
        texts: impl Iterator<Item = &'a str> + Send,
    ) -> Result<(), ShareError> {
        let mut wanted: Vec<&str> = texts.filter_map(author_of).collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted.retain(|id| !lens.identities.contains_key(*id));
        for some in wanted.chunks(AUTHORS_TOGETHER) {
            let marks: Vec<String> = (1..=some.len()).map(|n| format!("${n}")).collect();
            let sql = format!(
                "SELECT id, json FROM isac_object WHERE id_hash IN ({}) ORDER BY seq",
                marks.join(",")
            );
            let mut query = sqlx::query_as::<_, (String, String)>(sqlx::AssertSqlSafe(sql));
            for id in some {
                query = query.bind(hash64(id.as_bytes()));
            }
            for (id, text) in query.fetch_all(self.inner.db.pool()).await? {
                let object: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                if let Some(name) = object["name"].as_str()
                    && name.chars().count() >= NAME_CHARS_MIN
                {
                    lens.identities.insert(id, name.to_owned());
                }
            }
        }
        Ok(())
    }

    fn forget(&self) {
        let mut known = self
            .inner
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *known = None;
    }

    /// The key of pseudonyms, made when it is first asked for.
    async fn key(&self) -> Result<hmac::Key, ShareError> {
        let key = self
            .inner
            .key
            .get_or_try_init(|| async {
                let bytes = self.secret(PSEUDONYMS).await?;
                Ok::<_, ShareError>(key_of(&bytes))
            })
            .await?;
        Ok(key.clone())
    }

    /// A secret of this house by name, made of random bytes when it is first asked for.
    pub(crate) async fn secret(&self, name: &'static str) -> Result<Vec<u8>, ShareError> {
        let context = format!("share_key.sealed/{name}");
        let select = "SELECT sealed FROM share_key WHERE name = $1";
        let row: Option<(Vec<u8>,)> = sqlx::query_as(select)
            .bind(name)
            .fetch_optional(self.inner.db.pool())
            .await?;
        if let Some((sealed,)) = row {
            return Ok(self.inner.vault.open(&context, &sealed)?.to_vec());
        }
        let mut bytes = vec![0; KEY_BYTES];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| ShareError::Data("the system gives no random bytes".into()))?;
        let mut tx = self.inner.db.begin().await?;
        sqlx::query(
            "INSERT INTO share_key (name, sealed) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
        )
        .bind(name)
        .bind(self.inner.vault.seal(&context, &bytes)?)
        .execute(&mut *tx)
        .await?;
        // Another process may have been first.
        let (sealed,): (Vec<u8>,) = sqlx::query_as(select)
            .bind(name)
            .fetch_one(&mut *tx)
            .await?;
        let entry = AuditEntry::new(Actor::System("sharing"), "share.key", format!("key:{name}"));
        tx.audit(entry).await?;
        tx.commit().await?;
        Ok(self.inner.vault.open(&context, &sealed)?.to_vec())
    }

    /// The policy in force and its version; 0 is the one that is built in.
    ///
    /// # Errors
    /// When the database fails, or holds what is no policy.
    pub async fn policy(&self) -> Result<(i64, Policy), ShareError> {
        let row: Option<(i64, String)> = sqlx::query_as(
            "SELECT version, document FROM share_policy ORDER BY version DESC LIMIT 1",
        )
        .fetch_optional(self.inner.db.pool())
        .await?;
        match row {
            Some((version, text)) => Ok((version, read(&text)?)),
            None => Ok((
                0,
                Policy::built_in().map_err(|e| ShareError::Data(e.to_string()))?,
            )),
        }
    }

    /// All versions, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn versions(&self) -> Result<Vec<Version>, ShareError> {
        let rows: Vec<(i64, String, String, i64)> = sqlx::query_as(
            "SELECT version, document, made_by, made_at FROM share_policy ORDER BY version DESC LIMIT $1",
        )
        .bind(VERSIONS_MAX)
        .fetch_all(self.inner.db.pool())
        .await?;
        rows.into_iter()
            .map(|(version, text, made_by, made_at)| {
                Ok(Version {
                    version,
                    policy: read(&text)?,
                    made_by,
                    made_at: Timestamp(made_at),
                })
            })
            .collect()
    }

    /// Puts a new version of the policy in force; returns its number.
    ///
    /// # Errors
    /// [`ShareError::Policy`] when it breaks rules; else what the database says.
    pub async fn set_policy(&self, by: &By, policy: &Policy) -> Result<i64, ShareError> {
        let problems = policy.problems();
        if !problems.is_empty() {
            return Err(ShareError::Policy(problems));
        }
        let text = serde_json::to_string(policy).map_err(|e| ShareError::Data(e.to_string()))?;
        let mut tx = self.inner.db.begin().await?;
        let (last,): (i64,) =
            sqlx::query_as("SELECT CAST(COALESCE(MAX(version), 0) AS BIGINT) FROM share_policy")
                .fetch_one(&mut *tx)
                .await?;
        let version = last + 1;
        sqlx::query("INSERT INTO share_policy (version, document, made_by, made_at) VALUES ($1, $2, $3, $4)")
            .bind(version)
            .bind(&text)
            .bind(format!("user:{}", by.user))
            .bind(self.now().micros())
            .execute(&mut *tx)
            .await?;
        let detail = json!({ "version": version, "rules": policy.rules.len() });
        tx.audit(by.entry(None, "share.policy", format!("policy:{version}"), detail))
            .await?;
        tx.commit().await?;
        self.forget();
        Ok(version)
    }

    /// What sources said about consent.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn consents(&self) -> Result<Vec<(OrgId, Consents)>, ShareError> {
        let rows: Vec<(String, i64, i64)> =
            sqlx::query_as("SELECT org, goes_up, goes_down FROM share_consent ORDER BY org")
                .fetch_all(self.inner.db.pool())
                .await?;
        rows.into_iter()
            .map(|(org, up, down)| {
                let org = org
                    .parse()
                    .map_err(|_| ShareError::Data(format!("a row holds {org:?}")))?;
                Ok((
                    org,
                    Consents {
                        up: up == 1,
                        down: down == 1,
                    },
                ))
            })
            .collect()
    }

    /// Keeps how far `org` consents that what it sends is passed on.
    ///
    /// # Errors
    /// What the database says.
    pub async fn set_consent(
        &self,
        by: &By,
        org: OrgId,
        consents: Consents,
    ) -> Result<(), ShareError> {
        let mut tx = self.inner.db.begin().await?;
        sqlx::query(
            "INSERT INTO share_consent (org, goes_up, goes_down, made_by, made_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (org) DO UPDATE SET goes_up = excluded.goes_up, goes_down = excluded.goes_down, made_by = excluded.made_by, made_at = excluded.made_at",
        )
        .bind(org.to_string())
        .bind(i64::from(consents.up))
        .bind(i64::from(consents.down))
        .bind(by.user.to_string())
        .bind(self.now().micros())
        .execute(&mut *tx)
        .await?;
        let detail = json!({ "up": consents.up, "down": consents.down });
        tx.audit(by.entry(Some(org), "share.consent", format!("org:{org}"), detail))
            .await?;
        tx.commit().await?;
        self.forget();
        Ok(())
    }
}

/// The identity in `created_by_ref`, found without reading the whole object.
fn author_of(text: &str) -> Option<&str> {
    let at = memchr::memmem::find(text.as_bytes(), b"\"created_by_ref\"")?;
    let rest = text.get(at..)?;
    let from = rest.find("identity--")?;
    let id = rest.get(from..)?;
    id.get(..id.find('"')?)
}

fn read(text: &str) -> Result<Policy, ShareError> {
    serde_json::from_str(text)
        .map_err(|e| ShareError::Data(format!("a policy cannot be read: {e}")))
}

/// The person behind `user:…`, as tables keep it.
pub(crate) fn user_of(text: &str) -> Option<UserId> {
    text.strip_prefix("user:")?.parse().ok()
}
