//! What one turn of the driver gathers before it is handed on: the links' frames, by link, and the vault's commands.
//!
//! Everything here is used again turn after turn: in steady state nothing is allocated for a frame but its own bytes.

use rumormill_api::{Frame, LinkId};

use super::vault::Command;
use crate::proto::{Accepted, Output};

/// How many slots a link's list keeps between two turns.
const FRAMES_KEPT: usize = 256;

/// How many slots the list of outputs keeps between two turns.
const OUTPUTS_KEPT: usize = 4_096;

/// What one turn gathers.
#[derive(Default)]
pub(super) struct Outbox {
    /// The engine's outputs, while they are carried out.
    pub(super) outputs: Vec<Output>,
    /// For the vault, in order. What is in `accepted` comes after it.
    pub(super) commands: Vec<Command>,
    /// Envelopes for the vault, to be handed over as one command.
    pub(super) accepted: Vec<Accepted>,
    /// For the links, at once.
    pub(super) frames: ByLink,
    /// For the links, when there is room: the live flood goes first.
    pub(super) bulk: ByLink,
}

impl Outbox {
    /// Forgets a link.
    pub(super) fn forget(&mut self, link: LinkId) {
        self.frames.forget(link);
        self.bulk.forget(link);
    }

    /// Gives the list of outputs back, emptied, to be used again.
    pub(super) fn give_back(&mut self, mut outputs: Vec<Output>) {
        outputs.clear();
        outputs.shrink_to(OUTPUTS_KEPT);
        self.outputs = outputs;
    }
}

/// Frames by their links.
#[derive(Default)]
pub(super) struct ByLink {
    frames: Vec<(LinkId, Vec<Frame>)>,
    /// Where the last frame was put: the engine names its links in order, so the next one is close behind.
    at: usize,
}

impl ByLink {
    /// Adds a frame for a link, behind those that it has.
    pub(super) fn push(&mut self, link: LinkId, frame: Frame) {
        let (before, after) = (0..self.at, self.at..self.frames.len());
        let place = after.chain(before).find(|at| self.frames[*at].0 == link);
        self.at = place.unwrap_or(self.frames.len());
        if place.is_none() {
            self.frames.push((link, Vec::new()));
        }
        self.frames[self.at].1.push(frame);
    }

    /// Takes out the frames of one link.
    pub(super) fn take(&mut self, link: LinkId) -> Vec<Frame> {
        let place = self.frames.iter_mut().find(|(id, _)| *id == link);
        place.map(|(_, frames)| std::mem::take(frames)).unwrap_or_default()
    }

    /// Hands every link's frames to `send`, link by link. Those that it leaves there are dropped.
    pub(super) fn flush(&mut self, mut send: impl FnMut(LinkId, &mut Vec<Frame>)) {
        for (link, frames) in self.frames.iter_mut().filter(|(_, frames)| !frames.is_empty()) {
            send(*link, frames);
            frames.clear();
            frames.shrink_to(FRAMES_KEPT);
        }
    }

    fn forget(&mut self, link: LinkId) {
        self.frames.retain(|(id, _)| *id != link);
        self.at = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(n: u8) -> Frame {
        vec![n].into()
    }

    #[test]
    fn frames_are_handed_on_by_link_each_links_in_order() {
        let mut frames = ByLink::default();
        for round in 0..2 {
            for (link, n) in [(3, 1), (1, 2), (2, 3), (3, 4), (1, 5), (1, 6), (2, 7)] {
                frames.push(LinkId(link), frame(n));
            }
            assert_eq!(frames.take(LinkId(2)), [frame(3), frame(7)]);
            assert!(frames.take(LinkId(9)).is_empty(), "a link without frames");
            let mut sent = Vec::new();
            frames.flush(|link, all| sent.push((link.0, all.clone())));
            assert_eq!(sent, [(3, vec![frame(1), frame(4)]), (1, vec![frame(2), frame(5), frame(6)])], "round {round}");
        }
        frames.push(LinkId(1), frame(1));
        frames.forget(LinkId(1));
        frames.flush(|link, _| panic!("{link} is forgotten"));
    }

    #[test]
    fn what_a_link_refuses_is_dropped() {
        let mut frames = ByLink::default();
        frames.push(LinkId(1), frame(1));
        frames.flush(|_, _| {});
        frames.flush(|_, all| panic!("{all:?} is still there"));
    }
}
