//! What is to happen, in the order (time, sequence).

use std::collections::{BTreeMap, VecDeque};

use rumormill_api::Millis;

/// How far ahead a time has a place of its own in the ring, in milliseconds; a power of two, above what links take.
const RING_MS: usize = 1 << 12;

/// Events for which a place keeps its memory.
const PLACE_KEEPS: usize = 16;

/// A queue of events by time, and by sequence at each time. Times are whole milliseconds, so the near future is a ring with
/// a place for each: nearly everything is put in and taken out at the cost of an array. What is farther away waits in a
/// tree, and is moved to the ring before anything can be put behind it.
#[derive(Debug)]
pub(super) struct Queue<T> {
    ring: Vec<VecDeque<T>>,
    later: BTreeMap<Millis, VecDeque<T>>,
    /// Everything earlier than this has been taken out; the ring holds `now..now + RING_MS`.
    now: Millis,
    in_ring: usize,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self { ring: (0..RING_MS).map(|_| VecDeque::new()).collect(), later: BTreeMap::new(), now: 0, in_ring: 0 }
    }

    fn place(at: Millis) -> usize {
        at as usize % RING_MS
    }

    /// Puts an event at a time that isn't past.
    pub(super) fn push(&mut self, at: Millis, event: T) {
        let at = at.max(self.now);
        if at - self.now < RING_MS as Millis {
            self.ring[Self::place(at)].push_back(event);
            self.in_ring += 1;
        } else {
            self.later.entry(at).or_default().push_back(event);
        }
    }

    /// Takes out the next event that is due at `until` or earlier, with its time.
    pub(super) fn pop(&mut self, until: Millis) -> Option<(Millis, T)> {
        loop {
            if self.in_ring == 0 {
                let next = self.later.first_key_value().map(|(at, _)| *at).filter(|at| *at <= until);
                self.advance(next.unwrap_or(until));
                next?;
            }
            if self.now > until {
                return None;
            }
            let place = &mut self.ring[Self::place(self.now)];
            if let Some(event) = place.pop_front() {
                self.in_ring -= 1;
                return Some((self.now, event));
            }
            if self.now == until {
                return None;
            }
            // A burst's memory is given back; what a place usually needs is kept.
            place.shrink_to(PLACE_KEEPS);
            self.advance(self.now + 1);
        }
    }

    /// Goes to a time before which nothing is left, and moves to the ring what it now covers.
    fn advance(&mut self, to: Millis) {
        self.now = self.now.max(to);
        let end = self.now.saturating_add(RING_MS as Millis);
        while let Some(entry) = self.later.first_entry().filter(|entry| *entry.key() < end) {
            let (at, events) = entry.remove_entry();
            self.in_ring += events.len();
            self.ring[Self::place(at)].extend(events);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_by_sequence() {
        let mut queue = Queue::new();
        let far = 10 * RING_MS as Millis;
        for (number, at) in [far, 5, RING_MS as Millis, 5, 0, far, RING_MS as Millis - 1].into_iter().enumerate() {
            queue.push(at, number);
        }
        let mut order = Vec::new();
        while let Some((at, number)) = queue.pop(2 * far) {
            order.push((at, number));
            if number == 6 {
                // Behind what was put at the same time from afar.
                queue.push(RING_MS as Millis, 7);
            }
        }
        let ring = RING_MS as Millis;
        assert_eq!(order, [(0, 4), (5, 1), (5, 3), (ring - 1, 6), (ring, 2), (ring, 7), (far, 0), (far, 5)]);
    }

    #[test]
    fn nothing_comes_before_its_time() {
        let mut queue = Queue::new();
        queue.push(7, "a");
        assert_eq!(queue.pop(6), None);
        // Later than what was asked for: still in its place.
        queue.push(7, "b");
        assert_eq!(queue.pop(7), Some((7, "a")));
        queue.push(7, "c");
        assert_eq!([queue.pop(7), queue.pop(7), queue.pop(7)], [Some((7, "b")), Some((7, "c")), None]);
        // What is put into the past happens next.
        queue.push(3, "d");
        assert_eq!([queue.pop(7), queue.pop(100)], [Some((7, "d")), None]);
        queue.push(3, "e");
        assert_eq!(queue.pop(100), Some((100, "e")));
    }
}
