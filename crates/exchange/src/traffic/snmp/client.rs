//! One manager asking one agent by UDP.
//!
//! An answer counts only when it bears the number of the question and, in version 3,
//! passes authentication at the level that was asked for and lies in the time window
//! (RFC 3414 section 3.2). Everything else on the socket is passed over until the
//! time is up. The engine's clock is taken from authenticated messages only: the
//! first question goes out with a time that is wrong on purpose, and the engine
//! answers with an authenticated Report that says the right one.

use std::net::SocketAddr;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::ber::BerError;
use super::message::{
    AUTH, Community, Kind, MESSAGE_BYTES_MAX, PRIV, Pdu, REPORTABLE, Scoped, Secured, Value,
};
use super::oid::Oid;
use super::usm::{AuthProtocol, Authenticator, Cipher, Master, SALT_BYTES};

/// Seconds by which an engine's clock may lag behind what was heard of it.
const TIME_WINDOW_S: u32 = 150;
/// Reports that one question may meet before it is given up: one for the engine's
/// identifier, one for its clock, and one more when it has just started again.
const REPORTS_MAX: usize = 4;
/// `usmStats`: the counters that Reports name.
const USM_STATS: [u32; 9] = [1, 3, 6, 1, 6, 3, 15, 1, 1];

/// How long a question may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Wait for one answer.
    pub timeout: Duration,
    /// How often the question is asked.
    pub attempts: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(2),
            attempts: 3,
        }
    }
}

/// Who asks.
#[derive(Clone)]
pub enum Credentials {
    /// Version 2c with a community.
    Community(Vec<u8>),
    /// Version 3.
    User(User),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Community(_) => "Community",
            Self::User(_) => "User",
        })
    }
}

/// A user of version 3. Privacy without authentication cannot be said.
#[derive(Clone, Debug)]
pub struct User {
    name: Vec<u8>,
    auth: Option<(Master, Option<Master>)>,
}

impl User {
    /// A user with neither authentication nor privacy.
    pub fn open(name: &str) -> Self {
        Self {
            name: name.as_bytes().to_vec(),
            auth: None,
        }
    }

    /// A user with authentication, and with AES-128 privacy if a second password is
    /// given. Takes some milliseconds of hashing.
    pub fn new(
        name: &str,
        protocol: AuthProtocol,
        auth_password: &str,
        priv_password: Option<&str>,
    ) -> Self {
        Self {
            name: name.as_bytes().to_vec(),
            auth: Some((
                Master::new(protocol, auth_password.as_bytes()),
                priv_password.map(|password| Master::new(protocol, password.as_bytes())),
            )),
        }
    }

    const fn flags(&self) -> u8 {
        match &self.auth {
            None => 0,
            Some((_, None)) => AUTH,
            Some((_, Some(_))) => AUTH | PRIV,
        }
    }
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SnmpError {
    /// The socket.
    #[error("could not {what} {target}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With whom.
        target: SocketAddr,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Nothing came.
    #[error("{target} did not answer {attempts} questions of {}.{} s each", timeout.as_secs(), timeout.subsec_millis() / 100)]
    Silent {
        /// Who was asked.
        target: SocketAddr,
        /// How often.
        attempts: u32,
        /// How long was waited each time.
        timeout: Duration,
    },
    /// Version 3: the engine refuses the question.
    #[error("{target} refuses the question: {reason}")]
    Refused {
        /// Who was asked.
        target: SocketAddr,
        /// The counter that its Report names, in words.
        reason: &'static str,
    },
    /// The answer is an error.
    #[error("{target} answers with error {status} ({})", status_name(*status))]
    Status {
        /// Who was asked.
        target: SocketAddr,
        /// `error-status`.
        status: i32,
    },
    /// The answer makes no sense.
    #[error("the answer of {target} makes no sense")]
    Malformed {
        /// Who was asked.
        target: SocketAddr,
        /// Why.
        #[source]
        source: BerError,
    },
    /// The agent's tables never end.
    #[error("the tables of {target} go round in circles at {at}")]
    Circular {
        /// Who was asked.
        target: SocketAddr,
        /// Where.
        at: Oid,
    },
    /// The agent has more than is read.
    #[error("{target} has more than {max} rows")]
    TooMany {
        /// Who was asked.
        target: SocketAddr,
        /// The limit.
        max: usize,
    },
}

impl SnmpError {
    /// Whether the answer would not have fitted into one message.
    pub const fn is_too_big(&self) -> bool {
        matches!(self, Self::Status { status: 1, .. })
    }
}

/// `error-status` in words (RFC 3416 section 3).
const fn status_name(status: i32) -> &'static str {
    match status {
        1 => "tooBig",
        2 => "noSuchName",
        3 => "badValue",
        4 => "readOnly",
        5 => "genErr",
        6 => "noAccess",
        13 => "resourceUnavailable",
        16 => "authorizationError",
        _ => "see RFC 3416",
    }
}

/// What is known of the agent's engine.
struct Engine {
    id: Vec<u8>,
    boots: u32,
    /// Its clock, and when it was heard.
    time: u32,
    heard: Instant,
    /// Whether boots and time come from an authenticated message.
    synchronised: bool,
    authenticator: Option<Authenticator>,
    cipher: Option<Cipher>,
}

impl Engine {
    fn now(&self) -> u32 {
        let passed = u32::try_from(self.heard.elapsed().as_secs()).unwrap_or(u32::MAX);
        self.time.saturating_add(passed).min(i32::MAX as u32)
    }
}

/// A manager's way to one agent. One question at a time.
pub struct Client {
    target: SocketAddr,
    socket: UdpSocket,
    credentials: Credentials,
    timing: Timing,
    engine: Option<Engine>,
    salt: u64,
    number: i32,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// What came back.
enum Heard {
    Answer(Pdu),
    /// The engine's identifier or clock was wrong and is right now: ask again.
    Again,
}

impl Client {
    /// A way to `target`. Nothing is sent yet.
    ///
    /// # Errors
    /// When no socket can be had.
    pub async fn new(
        target: SocketAddr,
        credentials: Credentials,
        timing: Timing,
    ) -> Result<Self, SnmpError> {
        let io = |what| {
            move |source| SnmpError::Io {
                what,
                target,
                source,
            }
        };
        let local: SocketAddr = if target.is_ipv4() {
            ([0, 0, 0, 0], 0).into()
        } else {
            (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let socket = UdpSocket::bind(local)
            .await
            .map_err(io("open a socket to"))?;
        // The kernel drops what comes from elsewhere.
        socket.connect(target).await.map_err(io("reach"))?;
        let mut random = [0; 12];
        SystemRandom::new().fill(&mut random).map_err(|_| {
            io("draw random numbers for")(std::io::Error::other("the system has no randomness"))
        })?;
        let (salt, number) = random.split_at(8);
        Ok(Self {
            target,
            socket,
            credentials,
            timing,
            engine: None,
            salt: salt.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
            number: number
                .iter()
                .fold(0i32, |sum, byte| sum << 8 | i32::from(*byte))
                & i32::MAX,
            buffer: vec![0; MESSAGE_BYTES_MAX],
        })
    }

    /// The agent's address.
    pub const fn target(&self) -> SocketAddr {
        self.target
    }

    /// Asks for these variables.
    ///
    /// # Errors
    /// See [`SnmpError`].
    pub async fn get(&mut self, oids: &[Oid]) -> Result<Vec<(Oid, Value)>, SnmpError> {
        self.ask(Kind::Get, 0, 0, oids).await
    }

    /// Asks for `repetitions` times what follows each of the variables, but only once
    /// for the first `once` (GetBulk).
    ///
    /// # Errors
    /// See [`SnmpError`].
    pub async fn get_bulk(
        &mut self,
        once: u16,
        repetitions: u16,
        oids: &[Oid],
    ) -> Result<Vec<(Oid, Value)>, SnmpError> {
        self.ask(Kind::GetBulk, once.into(), repetitions.into(), oids)
            .await
    }

    async fn ask(
        &mut self,
        kind: Kind,
        error_status: i32,
        error_index: i32,
        oids: &[Oid],
    ) -> Result<Vec<(Oid, Value)>, SnmpError> {
        let variables = oids.iter().map(|oid| (oid.clone(), Value::Null)).collect();
        let mut pdu = Pdu {
            kind,
            request_id: 0,
            error_status,
            error_index,
            variables,
        };
        let mut reports = 0;
        let mut attempts = 0;
        while attempts < self.timing.attempts.max(1) {
            self.number = self.number.wrapping_add(1) & i32::MAX;
            pdu.request_id = self.number;
            let message = self.wrap(&pdu);
            match self.exchange(&message, pdu.request_id).await? {
                None => attempts += 1,
                Some(Heard::Answer(answer)) if answer.error_status != 0 => {
                    return Err(SnmpError::Status {
                        target: self.target,
                        status: answer.error_status,
                    });
                }
                Some(Heard::Answer(answer)) => return Ok(answer.variables),
                Some(Heard::Again) => {
                    reports += 1;
                    if reports > REPORTS_MAX {
                        return Err(SnmpError::Refused {
                            target: self.target,
                            reason: "its clock or identifier changes with every question",
                        });
                    }
                }
            }
        }
        // An engine that is heard no more may have become another.
        self.engine = None;
        Err(SnmpError::Silent {
            target: self.target,
            attempts: self.timing.attempts.max(1),
            timeout: self.timing.timeout,
        })
    }

    /// The message for a question, as far as the engine is known.
    fn wrap(&mut self, pdu: &Pdu) -> Vec<u8> {
        let user = match &self.credentials {
            Credentials::Community(community) => {
                return Community {
                    community: community.clone(),
                    pdu: pdu.clone(),
                }
                .encode();
            }
            Credentials::User(user) => user,
        };
        let Some(engine) = &self.engine else {
            // Who are you? (RFC 3414 section 4)
            let scoped = Scoped {
                engine: Vec::new(),
                context: Vec::new(),
                pdu: Pdu {
                    kind: Kind::Get,
                    request_id: pdu.request_id,
                    error_status: 0,
                    error_index: 0,
                    variables: Vec::new(),
                },
            };
            return Secured {
                id: pdu.request_id,
                flags: REPORTABLE,
                data: scoped.encode(),
                ..Secured::default()
            }
            .encode()
            .0;
        };
        let mut message = Secured {
            id: pdu.request_id,
            flags: REPORTABLE | user.flags(),
            engine: engine.id.clone(),
            boots: engine.boots,
            time: if engine.synchronised { engine.now() } else { 0 },
            user: user.name.clone(),
            code: vec![
                0;
                engine
                    .authenticator
                    .as_ref()
                    .map_or(0, Authenticator::code_bytes)
            ],
            salt: Vec::new(),
            data: Scoped {
                engine: engine.id.clone(),
                context: Vec::new(),
                pdu: pdu.clone(),
            }
            .encode(),
        };
        if let Some(cipher) = &engine.cipher {
            self.salt = self.salt.wrapping_add(1);
            let salt = self.salt.to_be_bytes();
            cipher.encrypt(message.boots, message.time, salt, &mut message.data);
            message.salt = salt.to_vec();
        }
        let (mut bytes, place) = message.encode();
        if let Some(authenticator) = &engine.authenticator {
            let code = authenticator.code(&bytes);
            bytes[place].copy_from_slice(&code);
        }
        bytes
    }

    /// Sends, and waits for what belongs to the question.
    async fn exchange(&mut self, message: &[u8], number: i32) -> Result<Option<Heard>, SnmpError> {
        let target = self.target;
        let io = |what| {
            move |source| SnmpError::Io {
                what,
                target,
                source,
            }
        };
        self.socket
            .send(message)
            .await
            .map_err(io("send a question to"))?;
        let until = Instant::now() + self.timing.timeout;
        loop {
            let mut buffer = std::mem::take(&mut self.buffer);
            let received = tokio::time::timeout_at(until, self.socket.recv(&mut buffer)).await;
            let heard = match &received {
                Ok(Ok(length)) => self.hear(&buffer[..*length], number),
                _ => Ok(None),
            };
            self.buffer = buffer;
            match received {
                Err(_) => return Ok(None),
                Ok(Err(source)) => return Err(io("read the answer of")(source)),
                Ok(Ok(_)) => {}
            }
            if let Some(heard) = heard? {
                return Ok(Some(heard));
            }
        }
    }

    /// What a datagram means to the question; nothing when it is none of its business.
    fn hear(&mut self, bytes: &[u8], number: i32) -> Result<Option<Heard>, SnmpError> {
        let target = self.target;
        match self.credentials {
            Credentials::Community(ref community) => {
                let answer = Community::decode(bytes)
                    .map_err(|source| SnmpError::Malformed { target, source })?;
                let ours = answer.pdu.kind == Kind::Response
                    && answer.pdu.request_id == number
                    && answer.community == *community;
                Ok(ours.then_some(Heard::Answer(answer.pdu)))
            }
            Credentials::User(_) => self.hear_secured(bytes, number),
        }
    }

    fn hear_secured(&mut self, bytes: &[u8], number: i32) -> Result<Option<Heard>, SnmpError> {
        let target = self.target;
        // Whoever cannot be told from a stranger does not end the question.
        let Ok((mut message, place)) = Secured::decode(bytes) else {
            return Ok(None);
        };
        let Credentials::User(user) = &self.credentials else {
            return Ok(None);
        };
        if message.id != number {
            return Ok(None);
        }
        let wanted = user.flags();
        let level = message.flags & (AUTH | PRIV);
        let mut authentic = false;
        if let Some(engine) = &mut self.engine {
            if level & AUTH != 0 {
                let right = message.engine == engine.id
                    && message.user == user.name
                    && engine
                        .authenticator
                        .as_ref()
                        .is_some_and(|keys| keys.is_right(bytes, place));
                if !right || !engine.is_timely(&message) {
                    return Ok(None);
                }
                authentic = true;
            }
            if level & PRIV != 0 {
                let (Some(cipher), Ok(salt)) = (
                    &engine.cipher,
                    <[u8; SALT_BYTES]>::try_from(message.salt.as_slice()),
                ) else {
                    return Ok(None);
                };
                cipher.decrypt(message.boots, message.time, salt, &mut message.data);
            }
        } else if level != 0 {
            return Ok(None);
        }
        let scoped = match Scoped::decode(&message.data) {
            Ok(scoped) => scoped,
            Err(source) if authentic => return Err(SnmpError::Malformed { target, source }),
            Err(_) => return Ok(None),
        };
        match scoped.pdu.kind {
            Kind::Report => self.reported(&message, &scoped.pdu, authentic),
            Kind::Response if level == wanted && self.engine.is_some() => {
                let ours = scoped.pdu.request_id == number;
                Ok(ours.then_some(Heard::Answer(scoped.pdu)))
            }
            _ => Ok(None),
        }
    }

    /// A Report: the engine says what it needs to know of, or refuses.
    fn reported(
        &mut self,
        message: &Secured,
        pdu: &Pdu,
        authentic: bool,
    ) -> Result<Option<Heard>, SnmpError> {
        let counter =
            pdu.variables
                .first()
                .and_then(|(oid, _)| match oid.below(&Oid::new(&USM_STATS)) {
                    Some([number, 0]) => Some(*number),
                    _ => None,
                });
        let reason = match counter {
            Some(4) if self.engine.is_none() && !message.engine.is_empty() => {
                self.meet(message.engine.clone());
                return Ok(Some(Heard::Again));
            }
            // notInTimeWindows: the clock has been taken from the authenticated Report.
            Some(2) if authentic => return Ok(Some(Heard::Again)),
            Some(2) => return Ok(None),
            Some(4) => {
                self.engine = None;
                return Ok(Some(Heard::Again));
            }
            Some(1) => "the security level is not supported for the user",
            Some(3) => "it does not know the user",
            Some(5) => "the authentication password is wrong, or another protocol is expected",
            Some(6) => "the privacy password is wrong, or another protocol is expected",
            _ => "it reports an error of its own",
        };
        Err(SnmpError::Refused {
            target: self.target,
            reason,
        })
    }

    /// Makes the keys for an engine just met.
    fn meet(&mut self, id: Vec<u8>) {
        let Credentials::User(user) = &self.credentials else {
            return;
        };
        let (authenticator, cipher) = match &user.auth {
            None => (None, None),
            Some((auth, privacy)) => (
                Some(Authenticator::new(auth, &id)),
                privacy.as_ref().map(|master| Cipher::new(master, &id)),
            ),
        };
        self.engine = Some(Engine {
            id,
            boots: 0,
            time: 0,
            heard: Instant::now(),
            synchronised: false,
            authenticator,
            cipher,
        });
    }
}

impl Engine {
    /// Whether an authenticated message is of this time, and if so what its clock says
    /// (RFC 3414 section 3.2, step 7b).
    fn is_timely(&mut self, message: &Secured) -> bool {
        let newer =
            message.boots > self.boots || (message.boots == self.boots && message.time > self.time);
        if newer || !self.synchronised {
            self.boots = message.boots;
            self.time = message.time;
            self.heard = Instant::now();
            self.synchronised = true;
        }
        message.boots < i32::MAX as u32
            && message.boots == self.boots
            && message.time.saturating_add(TIME_WINDOW_S) >= self.now()
    }
}
