//! The backend's settings.

use rumormill_api::{Error, ErrorKind, Options, Result};

use crate::NAME;

const MIB: usize = 1 << 20;

/// Memory for cached pages where the config doesn't say, in MiB.
const CACHE_DEFAULT_MIB: usize = 24;
/// Least memory for cached pages, in MiB.
const CACHE_MIN_MIB: usize = 1;
/// Most memory for cached pages, in MiB.
const CACHE_MAX_MIB: usize = 4_096;
/// The reserve on disk where the config doesn't say, in MiB.
const BALLAST_DEFAULT_MIB: usize = 4;
/// The largest reserve on disk, in MiB.
const BALLAST_MAX_MIB: usize = 1_024;

/// The settings, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Settings {
    pub(crate) cache_bytes: usize,
    pub(crate) ballast_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { cache_bytes: CACHE_DEFAULT_MIB * MIB, ballast_bytes: BALLAST_DEFAULT_MIB * MIB }
    }
}

impl Settings {
    pub(crate) fn parse(options: &Options) -> Result<Self> {
        let mut settings = Self::default();
        for (name, value) in options {
            match name.as_str() {
                "cache_mib" => settings.cache_bytes = mib(name, value, CACHE_MIN_MIB, CACHE_MAX_MIB)?,
                "ballast_mib" => settings.ballast_bytes = mib(name, value, 0, BALLAST_MAX_MIB)?,
                _ => {
                    let text = format!("there is no option {name:?}; valid are ballast_mib, cache_mib");
                    return Err(Error::new(ErrorKind::Invalid, NAME, text));
                }
            }
        }
        Ok(settings)
    }
}

fn mib(name: &str, value: &str, min: usize, max: usize) -> Result<usize> {
    match value.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number * MIB),
        _ => {
            let text = format!("the option {name} is {value:?}; it must be a whole number of MiB from {min} to {max}");
            Err(Error::new(ErrorKind::Invalid, NAME, text))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parse(name: &str, value: &str) -> Result<Settings> {
        Settings::parse(&[(name.to_owned(), value.to_owned())].into())
    }

    #[test]
    fn nothing_given_is_the_default() {
        assert_eq!(Settings::parse(&Options::new()).unwrap(), Settings::default());
    }

    #[test]
    fn limits_hold_from_both_sides() {
        assert_eq!(parse("cache_mib", "1").unwrap().cache_bytes, MIB);
        assert_eq!(parse("cache_mib", "4096").unwrap().cache_bytes, 4_096 * MIB);
        assert_eq!(parse("ballast_mib", "0").unwrap().ballast_bytes, 0);
        assert_eq!(parse("ballast_mib", "1024").unwrap().ballast_bytes, 1_024 * MIB);
        for (name, value) in [("cache_mib", "0"), ("cache_mib", "4097"), ("ballast_mib", "1025"), ("ballast_mib", "-1")]
        {
            let error = parse(name, value).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(name), "{error}");
        }
        for value in ["", "many", "1.5", "99999999999999999999999"] {
            assert_eq!(parse("cache_mib", value).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }

    #[test]
    fn an_unknown_option_is_refused_with_the_valid_ones() {
        let error = parse("cash_mib", "1").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        for name in ["cash_mib", "cache_mib", "ballast_mib"] {
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
