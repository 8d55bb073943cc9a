//! Backends by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::cipher::CipherSuite;
use crate::dedup::{Dedup, DedupConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::history::{History, HistoryConfig};
use crate::store::StoreFactory;
use crate::transport::{Transport, TransportConfig};

/// A backend's own settings, as the config's `[options.NAME]` gives them.
pub type Options = BTreeMap<String, String>;

type Factory<C, T> = Arc<dyn Fn(C) -> Result<T> + Send + Sync>;

/// The backends of one kind.
struct Kind<C, T> {
    what: &'static str,
    by_name: BTreeMap<&'static str, Factory<C, T>>,
}

impl<C, T> Kind<C, T> {
    const fn new(what: &'static str) -> Self {
        Self { what, by_name: BTreeMap::new() }
    }

    fn make(&self, name: &str, config: C) -> Result<T> {
        match self.by_name.get(name) {
            Some(factory) => factory(config),
            None => Err(Error::new(ErrorKind::Unsupported, "registry", self.unknown(name))),
        }
    }

    fn unknown(&self, name: &str) -> String {
        let names: Vec<_> = self.by_name.keys().copied().collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        format!("there is no {} {name:?} in this build; compiled in: {names}", self.what)
    }

    fn names(&self) -> Vec<&'static str> {
        self.by_name.keys().copied().collect()
    }
}

/// The backends that a build offers, by kind and name. A later registration of a name replaces an earlier one.
pub struct Registry {
    transports: Kind<TransportConfig, Arc<dyn Transport>>,
    dedups: Kind<DedupConfig, Box<dyn Dedup>>,
    ciphers: Kind<(), Arc<dyn CipherSuite>>,
    histories: Kind<HistoryConfig, Box<dyn History>>,
    stores: Kind<Options, StoreFactory>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            transports: Kind::new("transport"),
            dedups: Kind::new("dedup"),
            ciphers: Kind::new("cipher"),
            histories: Kind::new("history"),
            stores: Kind::new("store"),
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("transports", &self.transports.names())
            .field("dedups", &self.dedups.names())
            .field("ciphers", &self.ciphers.names())
            .field("histories", &self.histories.names())
            .field("stores", &self.stores.names())
            .finish()
    }
}

macro_rules! kind {
    ($field:ident, $add:ident, $make:ident, $names:ident, $config:ty, $made:ty, $what:literal) => {
        #[doc = concat!("Adds a ", $what, ".")]
        pub fn $add(&mut self, name: &'static str, factory: impl Fn($config) -> Result<$made> + Send + Sync + 'static) {
            self.$field.by_name.insert(name, Arc::new(factory));
        }

        #[doc = concat!("Makes the ", $what, " of that name.")]
        ///
        /// # Errors
        ///
        /// [`ErrorKind::Unsupported`] for an unknown name, listing the ones compiled in; else the backend's own.
        pub fn $make(&self, name: &str, config: $config) -> Result<$made> {
            self.$field.make(name, config)
        }

        #[doc = concat!("The names of every ", $what, ", sorted.")]
        #[must_use]
        pub fn $names(&self) -> Vec<&'static str> {
            self.$field.names()
        }
    };
}

impl Registry {
    kind!(transports, add_transport, transport, transport_names, TransportConfig, Arc<dyn Transport>, "transport");
    kind!(dedups, add_dedup, dedup, dedup_names, DedupConfig, Box<dyn Dedup>, "dedup");
    kind!(ciphers, add_cipher, cipher, cipher_names, (), Arc<dyn CipherSuite>, "cipher");
    kind!(histories, add_history, history, history_names, HistoryConfig, Box<dyn History>, "history");
    kind!(stores, add_store, store, store_names, Options, StoreFactory, "store");
}
