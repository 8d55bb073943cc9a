//! A disk in memory that fails, fills up, loses power and rots.
//!
//! Writes are seen at once, and are durable after the next sync. Where the power fails, any part of what wasn't synced
//! may have got to the disk, in sectors and in any order. Where a sync fails, the same goes, and what it lost is not
//! written by a later sync either, though it is still read: so do Linux's file systems (Rebello et al., "Can applications
//! recover from fsync failures?", 2020).

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;
use rumormill_api::Result;

use crate::place::{Place, Storage};

/// What a disk writes at once or not at all, in bytes.
const SECTOR_BYTES: usize = 512;

/// SplitMix64 (Steele, Lea and Flood 2014): the tests' own chance, repeatable by its seed.
#[derive(Clone, Debug)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 0
    }
}

/// When operations fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    None,
    /// The operation of that number, then never again.
    Once(u64, io::ErrorKind),
    /// Every operation from that number on: the power is gone.
    From(u64),
}

#[derive(Debug)]
enum Unsynced {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Debug)]
struct State {
    durable: Vec<u8>,
    visible: Vec<u8>,
    unsynced: Vec<Unsynced>,
    chance: Chance,
    operations: u64,
    trouble: Trouble,
    // The capacity in bytes, and a file that takes some of it while it is there.
    capacity: Option<(usize, PathBuf, usize)>,
}

/// The disk; clones are the same disk.
#[derive(Clone, Debug)]
pub(super) struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            durable: Vec::new(),
            visible: Vec::new(),
            unsynced: Vec::new(),
            chance: Chance(seed),
            operations: 0,
            trouble: Trouble::None,
            capacity: None,
        })))
    }

    /// A disk with a file on it.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let disk = Self::new(0);
        disk.state().durable = bytes.to_vec();
        disk.state().visible = bytes.to_vec();
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Counts operations from here on.
    pub(super) fn trouble(&self, trouble: Trouble) {
        let mut state = self.state();
        state.operations = 0;
        state.trouble = trouble;
    }

    pub(super) fn operations(&self) -> u64 {
        self.state().operations
    }

    pub(super) fn len(&self) -> usize {
        self.state().visible.len()
    }

    /// Limits the length of what it holds, less `bytes` while `reserve` exists.
    pub(super) fn limit(&self, capacity: usize, reserve: PathBuf, bytes: usize) {
        self.state().capacity = Some((capacity, reserve, bytes));
    }

    /// The power fails and comes back. Whatever had the disk open must be gone.
    pub(super) fn power_cycle(&self) {
        let mut state = self.state();
        state.persist_some();
        state.visible = state.durable.clone();
        state.trouble = Trouble::None;
    }

    /// Another disk with the same on it.
    pub(super) fn copy(&self) -> Self {
        let (other, state) = (Self::new(0), self.state());
        assert!(state.unsynced.is_empty(), "the disk is at rest");
        other.state().durable.clone_from(&state.durable);
        other.state().visible.clone_from(&state.visible);
        other
    }

    /// Changes what is stored, in place.
    pub(super) fn damage(&self, change: impl FnOnce(&mut [u8])) {
        let mut state = self.state();
        assert!(state.unsynced.is_empty(), "the disk is at rest");
        change(&mut state.durable);
        state.visible = state.durable.clone();
    }
}

impl State {
    fn operate(&mut self) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        match self.trouble {
            Trouble::Once(at, kind) if at == number => Err(kind.into()),
            Trouble::From(at) if at <= number => Err(io::ErrorKind::NotConnected.into()),
            _ => Ok(()),
        }
    }

    fn apply(onto: &mut Vec<u8>, change: &Unsynced) {
        match change {
            Unsynced::Write(offset, data) => {
                let end = offset + data.len();
                if onto.len() < end {
                    onto.resize(end, 0);
                }
                onto[*offset..end].copy_from_slice(data);
            }
            Unsynced::Length(length) => onto.resize(*length, 0),
        }
    }

    fn change(&mut self, change: Unsynced) {
        Self::apply(&mut self.visible, &change);
        self.unsynced.push(change);
    }

    /// Any sectors of what wasn't synced get to the disk, the rest is lost.
    fn persist_some(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Unsynced::Length(_) => {
                    if self.chance.coin() {
                        Self::apply(&mut self.durable, &change);
                    }
                }
                Unsynced::Write(offset, data) => {
                    let mut at = 0;
                    while at < data.len() {
                        let sector_end = SECTOR_BYTES - (offset + at) % SECTOR_BYTES;
                        let end = data.len().min(at + sector_end);
                        if self.chance.coin() {
                            Self::apply(&mut self.durable, &Unsynced::Write(offset + at, data[at..end].to_vec()));
                        }
                        at = end;
                    }
                }
            }
        }
    }

    fn full(&self, length: usize) -> bool {
        self.capacity.as_ref().is_some_and(|(capacity, reserve, bytes)| {
            length > self.visible.len() && length + if reserve.exists() { *bytes } else { 0 } > *capacity
        })
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.state();
        state.operate()?;
        Ok(state.visible.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        let offset = offset as usize;
        let stored = state.visible.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(stored);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        if state.full(len as usize) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.change(Unsynced::Length(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        if let Err(error) = state.operate() {
            if !matches!(state.trouble, Trouble::From(_)) {
                state.persist_some();
            }
            return Err(error);
        }
        for change in std::mem::take(&mut state.unsynced) {
            State::apply(&mut state.durable, &change);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        if let Err(error) = state.operate() {
            if !matches!(state.trouble, Trouble::From(_)) {
                let written = state.chance.below(data.len() as u64 + 1) as usize;
                state.change(Unsynced::Write(offset as usize, data[..written].to_vec()));
            }
            return Err(error);
        }
        if state.full(offset as usize + data.len()) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.change(Unsynced::Write(offset as usize, data.to_vec()));
        Ok(())
    }
}

impl Place for Disk {
    fn storage(&self) -> Result<Storage> {
        Ok(Storage::new(self.clone()))
    }

    fn is_empty(&self) -> Result<bool> {
        Ok(self.state().visible.is_empty())
    }

    fn bytes(&self) -> Result<u64> {
        Ok(self.state().visible.len() as u64)
    }

    fn set_aside(&self) -> Result<()> {
        Ok(())
    }

    /// As by a rename: it is there whole, or not at all.
    fn create(&self, init: &mut dyn FnMut(Storage) -> Result<()>) -> Result<()> {
        let scratch = Self::new(0);
        init(Storage::new(scratch.clone()))?;
        let made = scratch.state().durable.clone();
        let mut state = self.state();
        state.durable.clone_from(&made);
        state.visible = made;
        Ok(())
    }
}
