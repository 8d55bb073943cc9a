//! `rumor bot new NAME`.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use rumormill::bot::starter;

use super::super::{Failure, write};

pub(super) fn new(name: &str, folder: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let made = starter::write(name, folder).map_err(Failure::new)?;
    let mut text = String::new();
    for file in &made.written {
        let _ = writeln!(text, "made {}", folder.join(file).display());
    }
    for file in &made.kept {
        let _ = writeln!(text, "kept {}, which was there", folder.join(file).display());
    }
    let bot = folder.join(&made.bot);
    let _ = write!(
        text,
        "\nTry it:  rumor bot test {0}\nRun it:  rumor bot run {0} --room CHAT --config FILE\nKeep it: in the node's config\n\n\
         [lua]\nfolder = {1:?}\n\n[scripts.{name}]\nrooms = [\"CHAT\"]\nallow = [\"send\"]\n",
        bot.display(),
        folder.display().to_string()
    );
    write(out, &text)
}
