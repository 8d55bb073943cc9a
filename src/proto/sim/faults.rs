//! What goes wrong in a simulation: nodes that keep things to themselves, and nodes that crash and come back.

use bytes::Bytes;
use rand_core::Rng;
use rumormill_api::{Dedup, Millis, MsgId};

use super::{Event, Sim};
use crate::proto::wire::{Kind, MESSAGE_HEADER_BYTES};

/// How a node behaves. A node says its own messages in every case: that it is one of those below is not to be seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Behaviour {
    /// As written.
    #[default]
    Honest,
    /// Takes everything; relays, announces and serves nothing.
    SilentDropper,
    /// Takes everything and announces it as an honest node does; relays and serves nothing, whoever asks.
    Announcer,
}

/// How nodes come and go. A crashed node's links go down, what its store hadn't made durable is lost, and it comes back with
/// the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Churn {
    /// Crashes a minute, of a thousand nodes. They are spread at random over the minute and over the nodes that run.
    pub per_mille_per_minute: u64,
    /// How long a crashed node stays away, in milliseconds: evenly between these.
    pub down: (Millis, Millis),
}

/// The code and the bytes, header included, of each link message in a frame. Ends at what isn't one.
pub(super) fn messages(frame: &Bytes) -> impl Iterator<Item = (u8, Bytes)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let [code, high, low] = *frame.get(at..)?.first_chunk()?;
        let end = at + MESSAGE_HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
        let message = (end <= frame.len()).then(|| frame.slice(at..end))?;
        at = end;
        Some((code, message))
    })
}

impl<D: Dedup> Sim<D> {
    /// Has nodes crash and come back from now on; `None` ends it, and those that are down still come back.
    pub fn churn(&mut self, churn: Option<Churn>) {
        self.churn = churn;
        self.churn_number += 1;
        self.churn_at_us = self.now * 1_000;
        self.next_crash();
    }

    /// Schedules the next crash: on average a minute over the number of crashes in it, at most twice that.
    fn next_crash(&mut self) {
        let crashes = self.churn.map_or(0, |churn| churn.per_mille_per_minute * self.nodes.len() as u64);
        if let Some(mean_us) = 60_000_000_000_u64.checked_div(crashes) {
            self.churn_at_us += self.rng.next_u64() % (2 * mean_us + 1);
            self.schedule(self.now.max(self.churn_at_us / 1_000), Event::Crash(self.churn_number));
        }
    }

    /// One node crashes, unless the churn has been changed since this was scheduled.
    pub(super) fn crash_someone(&mut self, churn_number: u64) {
        let Some(churn) = self.churn.filter(|_| churn_number == self.churn_number) else { return };
        let (count, start) = (self.nodes.len(), self.below(self.nodes.len()));
        let running = (start..count).chain(0..start).find(|number| self.nodes[*number].engine.is_some());
        if let Some(number) = running {
            self.crash(number);
            let (low, high) = churn.down;
            let away = low + self.rng.next_u64() % (high - low + 1);
            self.schedule(self.now + away, Event::Start(number, self.nodes[number].life));
        }
        self.next_crash();
    }

    /// What of a frame a node of this behaviour really sends.
    pub(super) fn withhold(&self, number: usize, frame: Bytes) -> Bytes {
        let behaviour = self.nodes[number].behaviour;
        if behaviour == Behaviour::Honest {
            return frame;
        }
        let mut sent = Vec::with_capacity(frame.len());
        for (code, message) in messages(&frame) {
            let withheld = if code == Kind::Rumor as u8 {
                let id = MsgId::of(&message[MESSAGE_HEADER_BYTES..]);
                self.envelopes
                    .number(&id)
                    .and_then(|id| self.published.get(&id))
                    .is_none_or(|published| published.by != number)
            } else if code == Kind::Item as u8 {
                true
            } else {
                code == Kind::IHave as u8 && behaviour == Behaviour::SilentDropper
            };
            if !withheld {
                sent.extend_from_slice(&message);
            }
        }
        sent.into()
    }
}
