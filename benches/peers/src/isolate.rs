//! A network namespace that has nothing but loopback: nothing can leave it, and its byte counters count nobody else.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Set in the process that runs inside of the namespace.
const INSIDE: &str = "RUMORMILL_PEERS_ISOLATED";

/// Brings loopback up in a fresh namespace.
const LOOPBACK_UP: &str = "ip link set lo up 2>/dev/null || ifconfig lo up";

/// Whether this process runs in a namespace of its own.
#[must_use]
pub fn inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Starts this program again, with the same arguments, in a namespace of its own, in place of this process. Returns
/// where the system doesn't let it, or where it is in one already.
pub fn enter() {
    if inside() || !possible() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let script = format!("{{ {LOOPBACK_UP}; }} && exec \"$0\" \"$@\"");
    let error = unshare(&script).arg(program).args(std::env::args_os().skip(1)).env(INSIDE, "1").exec();
    eprintln!("peers: no namespace of its own: {error}");
}

fn possible() -> bool {
    let status = unshare(LOOPBACK_UP).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn unshare(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "--map-root-user", "sh", "-c", script]);
    command
}
