//! Scripts' values in memory, gone when the program ends. The stores of one factory live as long as it does.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rumormill_api::{Registry, Result, Store, StoreFactory};

/// This backend's name.
pub const NAME: &str = "memory";

/// Adds it to a registry.
pub fn register(registry: &mut Registry) {
    registry.add_store(NAME, |_| Ok(factory()));
}

type Values = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// Stores by name.
#[must_use]
pub fn factory() -> StoreFactory {
    let stores: Mutex<HashMap<String, Values>> = Mutex::default();
    Arc::new(move |name| {
        let values = lock(&stores).entry(name.to_owned()).or_default().clone();
        Ok(Box::new(MemoryStore { values }))
    })
}

/// Locks, whatever a panicking holder left: the data is valid at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct MemoryStore {
    values: Values,
}

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Vec<(String, Vec<u8>)>> {
        Ok(lock(&self.values).iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn write(&mut self, changes: &[(String, Option<Vec<u8>>)]) -> Result<()> {
        let mut values = lock(&self.values);
        for (key, value) in changes {
            match value {
                Some(value) => drop(values.insert(key.clone(), value.clone())),
                None => drop(values.remove(key)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conforms() {
        let open = factory();
        rumormill_api::testkit::store_suite(|name| open(name));
    }
}
