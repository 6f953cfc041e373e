//! Replacing a running node by a successor process (`civicnet reload`, SIGUSR2): what
//! the roles say to each other over [`runtime::handover`].
//!
//! A node of the data plane overlaps with its successor: the old one lets go of journal
//! and cache directory, serves on without writing to either, and drains once the new one
//! serves; its last events travel to the successor's journal, and purges that reach the
//! successor are told to it until it has ended. A control plane does not overlap, for two
//! must not write one lake: it stops in order, while connections wait in the sockets that
//! the successor holds.

use std::ffi::OsString;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, bail};
use base::event::{EventBatch, EventSink};
use base::quick::QuickEntry;
use lake::journal::Journal;
use runtime::handover::{self, Channel, Sockets, Successor, Tag};
use tokio::sync::{mpsc, watch};

/// How long the predecessor may take to let go of its directories.
const GIVE_TIME_MAX: Duration = Duration::from_secs(60);
/// How long the predecessor may take to stop accepting.
const PART_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a successor may take until it serves.
const TAKE_OVER_TIME_MAX: Duration = Duration::from_secs(120);
/// How long a purge waits for a predecessor that drains to obey it too.
const OBEY_TIME_MAX: Duration = Duration::from_millis(500);
/// Batches of events that wait to travel to the successor.
const FORWARD_BATCHES_MAX: usize = 1_024;
/// Messages of a successor that wait to be read.
const MESSAGES_MAX: usize = 64;

type Hook = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;
type Obeyer = Box<dyn Fn(&QuickEntry) + Send + Sync>;

/// What a process knows of those before and after it. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Handover {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    before: Option<Before>,
    after: Mutex<Option<Channel>>,
    release: Mutex<Vec<Hook>>,
    part: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
    obeyer: OnceLock<Obeyer>,
}

/// The predecessor.
struct Before {
    channel: Mutex<Channel>,
    said: watch::Receiver<Said>,
    sink: Arc<OnceLock<Arc<dyn EventSink>>>,
}

/// What the predecessor has said so far.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    given: bool,
    draining: bool,
    gone: bool,
    obeyed: u64,
}

/// How a replacement went that did not fail.
pub(crate) enum Replaced {
    /// The successor serves; this process drains.
    Drain,
    /// The successor waits for the end of this process.
    End,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Handover {
    /// Takes what a predecessor left, if there is one.
    pub(crate) fn begin() -> anyhow::Result<(Self, Sockets)> {
        let inherited = handover::inherit(&runtime::config::SystemEnv)
            .context("could not take over from the predecessor")?;
        let Some((channel, sockets)) = inherited else {
            return Ok((Self::default(), Sockets::default()));
        };
        let sink = Arc::new(OnceLock::new());
        let (tell, said) = watch::channel(Said::default());
        let reading = channel.try_clone()?;
        let events = Arc::clone(&sink);
        std::thread::Builder::new()
            .name("predecessor".into())
            .spawn(move || listen_to_predecessor(reading, &tell, &events))?;
        let before = Before {
            channel: Mutex::new(channel),
            said,
            sink,
        };
        let inner = Inner {
            before: Some(before),
            ..Inner::default()
        };
        Ok((
            Self {
                inner: Arc::new(inner),
            },
            sockets,
        ))
    }

    // ---- as a successor

    /// Whether there was a predecessor.
    pub(crate) fn has_predecessor(&self) -> bool {
        self.inner.before.is_some()
    }

    /// Waits until the directories are free.
    pub(crate) async fn take(&self) -> anyhow::Result<()> {
        self.ask(Tag::Take, GIVE_TIME_MAX, |said| said.given)
            .await
            .context("the predecessor does not let go of its directories")
    }

    /// Says that every role serves, and waits until nobody else accepts.
    pub(crate) async fn announce(&self) -> anyhow::Result<()> {
        self.ask(Tag::Serving, PART_TIME_MAX, |said| said.draining)
            .await
            .context("the predecessor does not stop")
    }

    async fn ask(
        &self,
        tag: Tag,
        time: Duration,
        answered: impl Fn(&Said) -> bool,
    ) -> anyhow::Result<()> {
        let Some(before) = &self.inner.before else {
            return Ok(());
        };
        // One that is gone has let go of everything.
        if lock(&before.channel).send(tag, &[]).is_err() {
            return Ok(());
        }
        let mut said = before.said.clone();
        let waiting = said.wait_for(|said| said.gone || answered(said));
        // A closed watch means that the reader has ended, as at the predecessor's end.
        tokio::time::timeout(time, waiting).await?.ok();
        Ok(())
    }

    /// Waits for the predecessor's end; at once without one.
    pub(crate) async fn predecessor_gone(&self) {
        if let Some(before) = &self.inner.before {
            let mut said = before.said.clone();
            // As above.
            said.wait_for(|said| said.gone).await.ok();
        }
    }

    /// Lets a predecessor that still drains obey `entry` too.
    pub(crate) async fn pass_on(&self, entry: &QuickEntry) {
        let Some(before) = &self.inner.before else {
            return;
        };
        if before.said.borrow().gone {
            return;
        }
        let sent = serde_json::to_vec(entry)
            .map_err(std::io::Error::other)
            .and_then(|text| lock(&before.channel).send(Tag::Order, &text));
        if sent.is_err() {
            return;
        }
        let mut said = before.said.clone();
        let waiting = said.wait_for(|said| said.gone || said.obeyed >= entry.seq);
        if tokio::time::timeout(OBEY_TIME_MAX, waiting).await.is_err() {
            tracing::warn!(
                seq = entry.seq,
                "The predecessor has not obeyed a purge in time"
            );
        }
    }

    // ---- as a predecessor

    /// Something to be done before the directories are free; the last one given is the
    /// first one done.
    pub(crate) fn on_release<F>(&self, work: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        lock(&self.inner.release).push(Box::new(move || Box::pin(work())));
    }

    /// Something to be done when a successor serves, before this process stops.
    pub(crate) fn on_part(&self, work: impl FnOnce() + Send + 'static) {
        lock(&self.inner.part).push(Box::new(work));
    }

    /// Who obeys purges that the successor was given.
    pub(crate) fn obey_with(&self, obeyer: impl Fn(&QuickEntry) + Send + Sync + 'static) {
        if self.inner.obeyer.set(Box::new(obeyer)).is_err() {
            tracing::error!("A process has one edge");
        }
    }

    /// A sink into `journal`, and into the successor's once this process has let go of it.
    pub(crate) fn events(&self, journal: Arc<Journal>) -> Arc<dyn EventSink> {
        if let Some(before) = &self.inner.before {
            // One journal in a process: the first is the one.
            before.sink.set(journal.clone()).ok();
        }
        let switch = Arc::new(Switch(RwLock::new(journal.clone())));
        let (turned, this) = (Arc::clone(&switch), self.clone());
        self.on_release(move || async move {
            let (queue, batches) = sync_channel::<EventBatch>(FORWARD_BATCHES_MAX);
            let forwarding = std::thread::Builder::new()
                .name("last-events".into())
                .spawn(move || {
                    let mut text = Vec::new();
                    for batch in batches {
                        text.clear();
                        if lake::envelope::encode(&batch, &mut text).is_err()
                            || this.send(Tag::Events, &text).is_err()
                        {
                            tracing::warn!(events = batch.len(), "Events were lost");
                        }
                    }
                });
            if let Err(error) = forwarding {
                tracing::error!(%error, "The last events cannot be passed on");
            }
            *turned.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Forward(queue));
            let closing = tokio::task::spawn_blocking(move || journal.close());
            if closing.await.is_err() {
                tracing::error!("Closing the journal panicked");
            }
        });
        switch
    }

    fn send(&self, tag: Tag, content: &[u8]) -> std::io::Result<()> {
        match &mut *lock(&self.inner.after) {
            Some(channel) => channel.send(tag, content),
            None => Err(std::io::ErrorKind::NotConnected.into()),
        }
    }

    async fn release(&self) {
        let mut hooks = std::mem::take(&mut *lock(&self.inner.release));
        while let Some(hook) = hooks.pop() {
            hook().await;
        }
    }

    /// Whether the directories were let go of: another try is then better than none.
    pub(crate) fn has_released(&self) -> bool {
        lock(&self.inner.release).is_empty()
    }

    /// Starts a successor and hands over to it. On an error this process goes on.
    pub(crate) async fn replace(
        &self,
        sockets: &Sockets,
        overlaps: bool,
        pid_file: Option<&Path>,
    ) -> anyhow::Result<Replaced> {
        let program = program()?;
        let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        let Successor { mut child, channel } = handover::start(&program, &arguments, sockets)
            .with_context(|| format!("could not start {}", program.display()))?;
        let pid = child.id();
        tracing::info!(pid, "Started a successor");
        let reading = channel.try_clone()?;
        *lock(&self.inner.after) = Some(channel);
        let (tell, mut messages) = mpsc::channel(MESSAGES_MAX);
        let this = self.clone();
        std::thread::Builder::new()
            .name("successor".into())
            .spawn(move || this.listen_to_successor(reading, &tell))?;
        let taking_over = async {
            while let Some(tag) = messages.recv().await {
                match tag {
                    Tag::Take if !overlaps => return Some(Replaced::End),
                    Tag::Take => {
                        self.release().await;
                        self.send(Tag::Given, &[]).ok()?;
                    }
                    Tag::Serving => return Some(Replaced::Drain),
                    _ => {}
                }
            }
            None
        };
        let replaced = tokio::time::timeout(TAKE_OVER_TIME_MAX, taking_over).await;
        let Ok(Some(replaced)) = replaced else {
            *lock(&self.inner.after) = None;
            // Ended already, or of no use.
            child.kill().ok();
            let status = tokio::task::spawn_blocking(move || child.wait()).await??;
            bail!("the successor {pid} did not take over ({status}); its log says why");
        };
        if let Some(file) = pid_file {
            write_pid(file, pid)?;
        }
        runtime::systemd::notify_from(
            &runtime::config::SystemEnv,
            &runtime::systemd::main_pid(pid),
        );
        tracing::info!(pid, "The successor takes over");
        for work in std::mem::take(&mut *lock(&self.inner.part)) {
            work();
        }
        Ok(replaced)
    }

    /// Says that this process accepts no more.
    pub(crate) fn draining(&self) {
        if let Err(error) = self.send(Tag::Draining, &[]) {
            tracing::warn!(%error, "The successor does not hear");
        }
    }

    /// Ends the talk with the successor.
    pub(crate) fn finish(&self) {
        if let Some(channel) = lock(&self.inner.after).take() {
            channel.close();
        }
    }

    fn listen_to_successor(&self, mut channel: Channel, tell: &mpsc::Sender<Tag>) {
        loop {
            let (tag, content) = match channel.receive() {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "The successor is not understood");
                    return;
                }
            };
            if tag != Tag::Order {
                if tell.blocking_send(tag).is_err() {
                    // Nobody decides any more; purges are still to be obeyed.
                    continue;
                }
                continue;
            }
            let Ok(entry) = serde_json::from_slice::<QuickEntry>(&content) else {
                tracing::warn!("A purge of the successor is not understood");
                continue;
            };
            if let Some(obey) = self.inner.obeyer.get() {
                obey(&entry);
            }
            if self.send(Tag::Obeyed, &entry.seq.to_le_bytes()).is_err() {
                return;
            }
        }
    }
}

fn listen_to_predecessor(
    mut channel: Channel,
    tell: &watch::Sender<Said>,
    sink: &OnceLock<Arc<dyn EventSink>>,
) {
    loop {
        match channel.receive() {
            Ok(Some((Tag::Given, _))) => tell.send_modify(|said| said.given = true),
            Ok(Some((Tag::Draining, _))) => tell.send_modify(|said| said.draining = true),
            Ok(Some((Tag::Obeyed, content))) => {
                if let Some((seq, _)) = content.split_first_chunk::<8>() {
                    let seq = u64::from_le_bytes(*seq);
                    tell.send_modify(|said| said.obeyed = said.obeyed.max(seq));
                }
            }
            Ok(Some((Tag::Events, content))) => {
                match (sink.get(), lake::envelope::decode(&content)) {
                    (Some(sink), Ok(batch)) => sink.offer(batch),
                    (None, _) => tracing::warn!("Events of the predecessor have no journal"),
                    (_, Err(error)) => {
                        tracing::warn!(%error, "Events of the predecessor are not understood");
                    }
                }
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break,
        }
    }
    tell.send_modify(|said| said.gone = true);
}

/// The program's own file: the new one, when it was replaced meanwhile.
fn program() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("could not find the program's own file")?;
    let text = program.as_os_str().as_encoded_bytes();
    Ok(match text.strip_suffix(b" (deleted)") {
        Some(path) => {
            use std::os::unix::ffi::OsStrExt as _;
            PathBuf::from(std::ffi::OsStr::from_bytes(path))
        }
        None => program,
    })
}

/// Writes a process's number so that a reader sees all of it or the one before.
pub(crate) fn write_pid(file: &Path, pid: u32) -> anyhow::Result<()> {
    let beside = file.with_extension("new");
    std::fs::write(&beside, format!("{pid}\n"))
        .and_then(|()| std::fs::rename(&beside, file))
        .with_context(|| format!("could not write {}", file.display()))
}

/// A sink that can be pointed elsewhere.
struct Switch(RwLock<Arc<dyn EventSink>>);

impl EventSink for Switch {
    fn offer(&self, batch: EventBatch) {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .offer(batch);
    }
}

/// Events on their way to the successor.
struct Forward(SyncSender<EventBatch>);

impl EventSink for Forward {
    fn offer(&self, batch: EventBatch) {
        match self.0.try_send(batch) {
            Ok(()) => {}
            Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => {
                tracing::warn!(events = batch.len(), "Events were lost");
            }
        }
    }
}
