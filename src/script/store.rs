//! What scripts keep: all of it in memory, where filters can read it at once, and written behind by a thread that commits
//! what has piled up. By a script's name, so that every version of it has the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use rumormill_api::{STORE_KEY_MAX_BYTES, Store, StoreFactory};
use tokio::sync::watch;

use super::meter::lock;

/// What an entry counts beside its key and its value, in bytes.
pub(super) const ENTRY_BYTES: usize = 64;
/// Most keys that one call lists.
pub(super) const KEYS_MAX: usize = 10_000;

/// Every script's values.
pub(super) struct Stores {
    factory: StoreFactory,
    open: Mutex<HashMap<Arc<str>, Arc<Values>>>,
}

impl Stores {
    pub(super) fn new(factory: StoreFactory) -> Self {
        Self { factory, open: Mutex::default() }
    }

    /// The values of the script of that name. Reads them from disk the first time.
    pub(super) fn of(&self, script: &Arc<str>) -> Result<Arc<Values>, String> {
        let mut open = lock(&self.open);
        if let Some(values) = open.get(script) {
            return Ok(Arc::clone(values));
        }
        let mut store = (self.factory)(script).map_err(|error| error.to_string())?;
        let loaded = store.load().map_err(|error| error.to_string())?;
        let values = Values::start(script, store, loaded).map_err(|error| format!("no thread for it: {error}"))?;
        open.insert(Arc::clone(script), Arc::clone(&values));
        Ok(values)
    }

    /// Those of that name, if they were opened.
    pub(super) fn opened(&self, script: &str) -> Option<Arc<Values>> {
        lock(&self.open).get(script).cloned()
    }

    /// Writes everything, and closes all. Blocks until it is done.
    pub(super) fn close(&self) {
        let open: Vec<_> = lock(&self.open).drain().collect();
        for (_, values) in open {
            values.close();
        }
    }
}

/// How far the writer has come.
#[derive(Clone, Debug, Default)]
struct Written {
    /// The last change that was written, or tried to be.
    upto: u64,
    /// Why the last batch failed.
    error: Option<Arc<str>>,
}

#[derive(Default)]
struct Inner {
    map: BTreeMap<String, Arc<[u8]>>,
    bytes: usize,
    /// What isn't on disk yet, by key: `None` deletes.
    pending: BTreeMap<String, Option<Arc<[u8]>>>,
    changes: u64,
    closed: bool,
}

/// One script's values.
pub(super) struct Values {
    inner: Mutex<Inner>,
    changed: Condvar,
    written: watch::Sender<Written>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Values {
    fn start(script: &str, store: Box<dyn Store>, loaded: Vec<(String, Vec<u8>)>) -> std::io::Result<Arc<Self>> {
        let bytes = loaded.iter().map(|(key, value)| cost(key, value.len())).sum();
        let map = loaded.into_iter().map(|(key, value)| (key, value.into())).collect();
        let values = Arc::new(Self {
            inner: Mutex::new(Inner { map, bytes, ..Inner::default() }),
            changed: Condvar::new(),
            written: watch::Sender::default(),
            writer: Mutex::default(),
        });
        let own = Arc::clone(&values);
        let thread =
            std::thread::Builder::new().name(format!("lua-store {script}")).spawn(move || own.write_behind(store))?;
        *lock(&values.writer) = Some(thread);
        Ok(values)
    }

    fn write_behind(&self, mut store: Box<dyn Store>) {
        loop {
            let (batch, upto, closed) = {
                let mut inner = lock(&self.inner);
                while inner.pending.is_empty() && !inner.closed {
                    inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
                }
                (std::mem::take(&mut inner.pending), inner.changes, inner.closed)
            };
            let changes: Vec<_> =
                batch.iter().map(|(key, value)| (key.clone(), value.as_ref().map(|value| value.to_vec()))).collect();
            let error = store.write(&changes).err().map(|error| Arc::from(error.to_string()));
            if let Some(error) = &error {
                tracing::error!(target: super::LOG_TARGET, "a script's store can't be written: {error}");
                // Tried again with the next change, unless that is of the same key.
                let mut inner = lock(&self.inner);
                let newer = std::mem::take(&mut inner.pending);
                let waits = !newer.is_empty();
                inner.pending = batch;
                inner.pending.extend(newer);
                if !waits && !closed {
                    let before = inner.changes;
                    drop(inner);
                    self.written.send_replace(Written { upto, error: Some(Arc::clone(error)) });
                    self.await_change(before);
                    continue;
                }
            }
            self.written.send_replace(Written { upto, error });
            if closed {
                return;
            }
        }
    }

    /// Waits until something changes after this.
    fn await_change(&self, before: u64) {
        let mut inner = lock(&self.inner);
        while inner.changes == before && !inner.closed {
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A value.
    pub(super) fn get(&self, key: &str) -> Option<Arc<[u8]>> {
        lock(&self.inner).map.get(key).cloned()
    }

    /// Keeps a value, if there is room for it within `quota` bytes; `None` deletes. Whether there was one before.
    pub(super) fn set(&self, key: &str, value: Option<Vec<u8>>, quota: usize) -> Result<bool, String> {
        if key.len() > STORE_KEY_MAX_BYTES {
            return Err(format!("the key is longer than {STORE_KEY_MAX_BYTES} bytes"));
        }
        let mut inner = lock(&self.inner);
        let old = inner.map.get(key).map_or(0, |old| cost(key, old.len()));
        let new = value.as_ref().map_or(0, |value| cost(key, value.len()));
        let bytes = inner.bytes - old + new;
        if new > old && bytes > quota {
            return Err(format!("the store is full: it holds at most {quota} bytes"));
        }
        if value.is_none() && old == 0 {
            return Ok(false);
        }
        let value: Option<Arc<[u8]>> = value.map(Into::into);
        inner.bytes = bytes;
        match &value {
            Some(value) => drop(inner.map.insert(key.to_owned(), Arc::clone(value))),
            None => drop(inner.map.remove(key)),
        }
        inner.pending.insert(key.to_owned(), value);
        inner.changes += 1;
        drop(inner);
        self.changed.notify_one();
        Ok(old > 0)
    }

    /// The keys that begin so.
    pub(super) fn keys(&self, prefix: &str) -> Vec<String> {
        let inner = lock(&self.inner);
        let from = inner.map.range(prefix.to_owned()..);
        from.map(|(key, _)| key).take_while(|key| key.starts_with(prefix)).take(KEYS_MAX).cloned().collect()
    }

    /// Waits until what was kept so far is on disk.
    pub(super) async fn flush(&self) -> Result<(), String> {
        let wanted = lock(&self.inner).changes;
        let mut written = self.written.subscribe();
        let state = written.wait_for(|written| written.upto >= wanted).await.map_err(|_| "it was closed".to_owned())?;
        match &state.error {
            Some(error) => Err(error.to_string()),
            None => Ok(()),
        }
    }

    fn close(&self) {
        lock(&self.inner).closed = true;
        self.changed.notify_all();
        if let Some(writer) = lock(&self.writer).take() {
            drop(writer.join());
        }
    }
}

/// What an entry counts.
fn cost(key: &str, value: usize) -> usize {
    key.len() + value + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rumormill_api::Result as StoreResult;

    use super::*;

    /// Fails as long as it is told to.
    #[derive(Clone, Default)]
    struct Faulty {
        broken: Arc<Mutex<bool>>,
        written: Arc<Mutex<BTreeMap<String, Option<Vec<u8>>>>>,
    }

    impl Store for Faulty {
        fn load(&mut self) -> StoreResult<Vec<(String, Vec<u8>)>> {
            Ok(vec![("old".to_owned(), b"1".to_vec())])
        }

        fn write(&mut self, changes: &[(String, Option<Vec<u8>>)]) -> StoreResult<()> {
            if *lock(&self.broken) {
                return Err(rumormill_api::Error::new(rumormill_api::ErrorKind::Full, "test", "the disk is full"));
            }
            lock(&self.written).extend(changes.iter().cloned());
            Ok(())
        }
    }

    fn stores(store: &Faulty) -> Stores {
        let store = store.clone();
        Stores::new(Arc::new(move |_| Ok(Box::new(store.clone()))))
    }

    #[tokio::test]
    async fn a_failed_write_is_said_and_made_up_for() {
        let disk = Faulty::default();
        let stores = stores(&disk);
        let values = stores.of(&"x".into()).unwrap();
        assert_eq!(values.get("old").as_deref(), Some(b"1".as_slice()));
        *lock(&disk.broken) = true;
        values.set("a", Some(b"1".to_vec()), 1_000).unwrap();
        assert!(values.flush().await.unwrap_err().contains("the disk is full"));
        assert_eq!(values.get("a").as_deref(), Some(b"1".as_slice()));
        *lock(&disk.broken) = false;
        values.set("b", Some(b"2".to_vec()), 1_000).unwrap();
        values.flush().await.unwrap();
        values.set("old", None, 1_000).unwrap();
        stores.close();
        let written = lock(&disk.written).clone();
        assert_eq!(written["a"].as_deref(), Some(b"1".as_slice()));
        assert_eq!(written["b"].as_deref(), Some(b"2".as_slice()));
        assert_eq!(written["old"], None);
    }

    #[test]
    fn the_quota_counts_keys_values_and_entries() {
        let stores = stores(&Faulty::default());
        let values = stores.of(&"x".into()).unwrap();
        let quota = 2 * ENTRY_BYTES + "old".len() + 1 + "k".len() + 10;
        values.set("k", Some(vec![0; 10]), quota).unwrap();
        let error = values.set("k", Some(vec![0; 11]), quota).unwrap_err();
        assert!(error.contains(&format!("at most {quota} bytes")), "{error}");
        assert!(values.set("l", Some(Vec::new()), quota).is_err());
        // What shrinks is taken, even past the quota.
        values.set("k", Some(vec![0; 9]), 0).unwrap();
        assert!(values.set("k", None, quota).unwrap());
        assert!(!values.set("k", None, quota).unwrap());
        values.set("l", Some(Vec::new()), quota).unwrap();
        let long = "k".repeat(STORE_KEY_MAX_BYTES);
        assert!(values.set(&long, Some(Vec::new()), usize::MAX).is_ok());
        assert!(values.set(&format!("{long}k"), Some(Vec::new()), usize::MAX).is_err());
        stores.close();
    }
}
