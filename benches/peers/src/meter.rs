//! CPU, memory and wire bytes, read off the kernel: the same way for every system.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// A reading.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// CPU time of this process, user and system.
    pub cpu: Duration,
    /// What loopback has carried: packets with their IP and transport headers, acknowledgements included.
    pub wire_bytes: u64,
    /// In how many packets (up to 64 KiB each: loopback isn't segmented).
    pub wire_packets: u64,
}

/// Reads the meters.
///
/// # Errors
///
/// `/proc` can't be read.
pub fn read() -> crate::Result<Reading> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).map_err(|error| format!("getrusage: {error}"))?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    let devices = read_file("/proc/net/dev")?;
    let (wire_bytes, wire_packets) = loopback(&devices).ok_or("/proc/net/dev has no line for lo")?;
    Ok(Reading { cpu: Duration::from_micros(micros.unsigned_abs()), wire_bytes, wire_packets })
}

/// The memory that this process holds, in bytes.
///
/// # Errors
///
/// `/proc` can't be read.
pub fn resident_bytes() -> crate::Result<u64> {
    let status = read_file("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|kib| kib.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1_024).ok_or_else(|| "/proc/self/status has no VmRSS".to_owned())
}

fn read_file(path: &str) -> crate::Result<String> {
    fs::read_to_string(path).map_err(|error| format!("{path} can't be read: {error}"))
}

/// Received bytes and packets of `lo`. What it sends it receives, so one side counts everything once.
fn loopback(devices: &str) -> Option<(u64, u64)> {
    let line = devices.lines().find_map(|line| line.trim_start().strip_prefix("lo:"))?;
    let mut words = line.split_ascii_whitespace().map(str::parse::<u64>);
    Some((words.next()?.ok()?, words.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopbacks_line_is_found() {
        let devices =
            "Inter-| Receive\n face |bytes packets\n  eth0: 5 6 0\n    lo: 1234567 89 0 0 0 0 0 0 1234567 89 0\n";
        assert_eq!(loopback(devices), Some((1_234_567, 89)));
        assert_eq!(loopback("eth0: 5 6\n"), None);
    }

    #[test]
    fn the_meters_run() {
        let before = read().unwrap();
        let until = before.cpu + Duration::from_millis(20);
        let mut after = before;
        while after.cpu < until {
            after = read().unwrap();
        }
        assert!(after.wire_bytes >= before.wire_bytes);
        assert!(resident_bytes().unwrap() > 1 << 20);
    }
}
