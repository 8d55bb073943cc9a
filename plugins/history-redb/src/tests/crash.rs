//! The power fails at any point, with any part of what wasn't synced on the disk.

use rumormill_api::History as _;

use super::disk::{Chance, Disk, Trouble};
use super::script::{batch, check, open};
use super::seeds;

const ROUNDS: u64 = 3;

#[test]
fn what_was_acknowledged_survives_power_failures() {
    for seed in seeds() {
        let disk = Disk::new(seed);
        let mut chance = Chance(!seed);
        drop(open(&disk).unwrap());
        let mut acknowledged = 0;
        for _ in 0..ROUNDS {
            // Now and then within the mending of the crash before.
            disk.trouble(Trouble::From(chance.below(120)));
            if let Ok(mut history) = open(&disk) {
                while history.append(&batch(acknowledged)).is_ok() {
                    acknowledged += 1;
                }
            }
            disk.power_cycle();
            let mut history = open(&disk).unwrap_or_else(|error| panic!("{error} (seed {seed})"));
            check(&history, acknowledged, seed);
            // What was in flight may be there: sent again, it is there once.
            history.append(&batch(acknowledged)).unwrap();
            acknowledged += 1;
            check(&history, acknowledged, seed);
        }
    }
}
