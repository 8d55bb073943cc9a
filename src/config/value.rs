//! Small values: paths, sizes, names, addresses, files of a bounded size.

use std::env;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// What paths in a config are relative to.
#[derive(Debug)]
pub(super) struct Places {
    /// The config's folder.
    pub(super) base: PathBuf,
    /// `$HOME`.
    pub(super) home: Option<PathBuf>,
    /// `$XDG_STATE_HOME`, or `~/.local/state`.
    pub(super) state_home: Option<PathBuf>,
}

impl Places {
    pub(super) fn of(file: &Path) -> Self {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("HOME");
        let state_home = absolute("XDG_STATE_HOME").or_else(|| home.as_ref().map(|home| home.join(".local/state")));
        Self { base: file.parent().map(Path::to_owned).unwrap_or_default(), home, state_home }
    }

    /// Expands `~/`, and makes the path relative to the config's folder.
    pub(super) fn path(&self, text: &str) -> Result<PathBuf, String> {
        if text.is_empty() {
            return Err("is empty; write a path".to_owned());
        }
        if text.contains('\0') {
            return Err("holds a NUL character".to_owned());
        }
        if text == "~" || text.starts_with("~/") {
            let home = self.home.as_ref().ok_or("begins with ~, but $HOME is not set; write the whole path")?;
            return Ok(home.join(text.trim_start_matches('~').trim_start_matches('/')));
        }
        if text.starts_with('~') {
            return Err("begins with ~ and a user's name, which is not expanded; write the whole path".to_owned());
        }
        Ok(self.base.join(text))
    }
}

/// Reads a regular file of at most `max` bytes.
pub(super) fn read_bounded(file: &Path, max: u64) -> Result<Zeroizing<Vec<u8>>, String> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no such file: {}", file.display()),
        std::io::ErrorKind::PermissionDenied => {
            format!("this user may not read {}; check its mode and owner", file.display())
        }
        _ => format!("can't read {}: {error}", file.display()),
    };
    let meta = std::fs::metadata(file).map_err(failed)?;
    if !meta.is_file() {
        return Err(format!("{} is not a regular file", file.display()));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(meta.len().min(max) as usize + 1));
    File::open(file).and_then(|open| open.take(max + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > max {
        return Err(format!("{} is larger than {max} bytes", file.display()));
    }
    Ok(bytes)
}

/// The text with control characters escaped.
pub(super) fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if is_hidden(c) && c != '\n' { c.escape_unicode().collect() } else { vec![c] }).collect()
}

/// Control characters, and those that reorder or hide others.
pub(super) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Checks a name that is shown to people: not empty, at most `max` bytes, printable, no space at its ends.
///
/// # Errors
///
/// What is wrong, as the end of a sentence.
pub fn check_name(name: &str, max: usize) -> Result<(), String> {
    if name.is_empty() || name.trim() != name {
        return Err("must not be empty or begin or end with a space".to_owned());
    }
    if name.len() > max {
        return Err(format!("has {} bytes; at most {max} are allowed", name.len()));
    }
    match name.chars().find(|c| is_hidden(*c)) {
        Some(c) => Err(format!("holds the control or invisible character {}; use printable ones", c.escape_unicode())),
        None => Ok(()),
    }
}

/// Reads a size in bytes: `1048576`, `512 MiB`, `1GB`. KiB, MiB, GiB and TiB are powers of 1,024, KB and so on of 1,000.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "kb" => Some(1_000),
        "mb" => Some(1_000_000),
        "gb" => Some(1_000_000_000),
        "tb" => Some(1_000_000_000_000),
        "kib" => Some(1 << 10),
        "mib" => Some(1 << 20),
        "gib" => Some(1 << 30),
        "tib" => Some(1_u64 << 40),
        _ => None,
    };
    let bytes = factor.and_then(|factor| number.parse::<u64>().ok()?.checked_mul(factor));
    bytes.ok_or_else(|| {
        "is not a size; write whole bytes or a number with KiB, MiB, GiB, KB, MB or GB, such as \"512MiB\"".to_owned()
    })
}

/// Checks `HOST:PORT`, an IPv6 host in brackets.
pub(super) fn check_host_port(text: &str, port_0_allowed: bool) -> Result<(), String> {
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err("has no port; write HOST:PORT, such as 127.0.0.1:4001".to_owned());
    };
    match port.parse::<u16>() {
        Ok(0) if !port_0_allowed => return Err("has port 0; write the port that the other node listens on".to_owned()),
        Ok(_) if port.bytes().all(|b| b.is_ascii_digit()) => {}
        _ => return Err("has a bad port; ports are 1 to 65535".to_owned()),
    }
    let good = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(ipv6) => ipv6.parse::<std::net::Ipv6Addr>().is_ok(),
        // All digits and dots: meant as an IPv4 address.
        None if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') => host.parse::<std::net::Ipv4Addr>().is_ok(),
        None => {
            host.len() <= 253
                && host.split('.').all(|label| {
                    (1..=63).contains(&label.len())
                        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                })
        }
    };
    if good {
        Ok(())
    } else {
        Err("has a bad host; write an IPv4 address, an IPv6 address in [ ], or a host name".to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("512 MiB", 512 << 20),
            ("1GB", 1_000_000_000),
            (" 2kib ", 2048),
            ("7b", 7),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5GiB", "1 XB", "99999999999999999999", "99999999TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names() {
        assert_eq!(check_name("Zoë 🦀", 64), Ok(()));
        assert_eq!(check_name(&"x".repeat(64), 64), Ok(()));
        for bad in ["", " a", "a ", "a\nb", "a\u{1b}[31m", "a\u{202e}b", &"x".repeat(65)] {
            assert!(check_name(bad, 64).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hosts_and_ports() {
        for good in ["127.0.0.1:1", "[::1]:65535", "node.example.org:4001", "localhost:7"] {
            assert_eq!(check_host_port(good, false), Ok(()), "{good}");
        }
        for bad in [
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:65536",
            "127.0.0.1:0",
            "256.1.1.1:4",
            "::1:4",
            "[::g]:4",
            ":4",
            "a b:4",
            "a..b:4",
            "a:+4",
        ] {
            assert!(check_host_port(bad, false).is_err(), "{bad}");
        }
        assert_eq!(check_host_port("127.0.0.1:0", true), Ok(()));
    }

    #[test]
    fn paths() {
        let places = Places { base: "/etc/rumor".into(), home: Some("/home/a".into()), state_home: None };
        assert_eq!(places.path("x/y").unwrap(), Path::new("/etc/rumor/x/y"));
        assert_eq!(places.path("/x").unwrap(), Path::new("/x"));
        assert_eq!(places.path("~/x").unwrap(), Path::new("/home/a/x"));
        assert_eq!(places.path("~").unwrap(), Path::new("/home/a/"));
        assert!(places.path("~bob/x").is_err());
        assert!(places.path("").is_err());
        assert!(Places { home: None, ..places }.path("~/x").is_err());
    }

    #[test]
    fn files_are_bounded_and_regular() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(**read_bounded(&file, 5).unwrap(), *b"12345");
        assert!(read_bounded(&file, 4).unwrap_err().contains("larger than 4 bytes"));
        assert!(read_bounded(dir.path(), 4).unwrap_err().contains("not a regular file"));
        assert!(read_bounded(&dir.path().join("none"), 4).unwrap_err().contains("no such file"));
    }
}
