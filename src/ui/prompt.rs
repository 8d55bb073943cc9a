//! Who may write to the terminal when: the editor while it shows a prompt, the printer's thread while there is none.
//!
//! What is printed while a line is edited goes through the editor, which repaints the line below it. The editor takes
//! such a text only once the terminal is in raw mode: one that is written a moment earlier would land behind the prompt,
//! which nothing would paint again. So the prompt is known to be there from its first painting, not from when the line
//! was asked for, and the two never write at the same time in between.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long what is to be shown waits for the next prompt, in milliseconds.
const PRINT_WAIT_MS: u64 = 1_500;
/// How long the printer waits for the editor to have painted a text, in milliseconds: the program may be about to end.
const PAINT_WAIT_MS: u64 = 500;

/// Where the editor is.
#[derive(Default, PartialEq, Eq)]
enum Prompt {
    /// No line is being edited.
    #[default]
    Absent,
    /// The editor takes over the terminal.
    Coming,
    /// The prompt is painted, and the editor takes texts.
    Shown,
}

/// What the editor's thread and the printer's know of each other.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    prompt: Prompt,
    /// How many times the prompt was painted.
    paintings: u64,
    /// Whether the printer writes to the terminal itself.
    printing: bool,
    /// Whether the prompt was waited for in vain since it was last there.
    gave_up: bool,
    /// Whether there will be no further prompt.
    over: bool,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// Waits while `waiting` holds, at most so long.
    fn wait(&self, millis: u64, waiting: impl FnMut(&mut State) -> bool) -> MutexGuard<'_, State> {
        let waited = self.changed.wait_timeout_while(self.state(), Duration::from_millis(millis), waiting);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// The editor is about to take over the terminal: waits until nothing else writes to it.
    pub(super) fn prompt_comes(&self) {
        let waited = self.changed.wait_while(self.state(), |state| state.printing);
        waited.unwrap_or_else(PoisonError::into_inner).prompt = Prompt::Coming;
    }

    /// The editor paints its prompt, for the first time or again. What was printed through it is above it.
    pub(super) fn prompt_painted(&self) {
        self.change(|state| {
            state.prompt = Prompt::Shown;
            state.paintings += 1;
            state.gave_up = false;
        });
    }

    /// The line is edited, and the terminal as it was.
    pub(super) fn prompt_gone(&self) {
        self.change(|state| state.prompt = Prompt::Absent);
    }

    /// Whether a line is being edited.
    pub(super) fn is_prompt_shown(&self) -> bool {
        self.state().prompt == Prompt::Shown
    }

    /// No further prompt will come: nothing waits for one any more.
    pub(super) fn set_over(&self) {
        self.change(|state| state.over = true);
    }

    /// Prints, waiting a moment for the prompt: what is printed through it keeps its order, and doesn't tear a line apart.
    /// What went through it is on the screen when this returns, unless the line ended just then: the next prompt shows it.
    pub(super) fn print<T>(&self, print: impl FnOnce() -> T) -> T {
        let mut state = self.wait(PRINT_WAIT_MS, |state| match state.prompt {
            Prompt::Shown => false,
            Prompt::Coming => true,
            Prompt::Absent => !(state.gave_up || state.over),
        });
        let shown = state.prompt == Prompt::Shown;
        // A command that prints on and on would else wait for each of its pages.
        state.gave_up = !shown;
        state.printing = !shown;
        let before = state.paintings;
        drop(state);
        let printed = print();
        self.change(|state| state.printing = false);
        if shown {
            drop(self.wait(PAINT_WAIT_MS, |state| state.prompt == Prompt::Shown && state.paintings == before));
        }
        printed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::thread;

    use super::*;

    #[test]
    fn nothing_is_printed_between_the_request_for_a_prompt_and_its_painting() {
        let gate = Arc::new(Gate::default());
        let (done, events) = mpsc::channel();
        gate.prompt_comes();
        let printer = {
            let (gate, done) = (Arc::clone(&gate), done.clone());
            thread::spawn(move || gate.print(|| done.send("printed").expect("somebody listens")))
        };
        // As the editor does: raw mode, then the prompt.
        done.send("raw mode").unwrap();
        gate.prompt_painted();
        assert_eq!(events.recv(), Ok("raw mode"));
        assert_eq!(events.recv(), Ok("printed"));
        gate.prompt_painted();
        printer.join().unwrap();
    }

    #[test]
    fn the_editor_waits_for_what_is_printed_without_it() {
        let gate = Arc::new(Gate::default());
        gate.set_over();
        let (started, starts) = mpsc::channel();
        let (go, gone) = mpsc::channel();
        let (done, events) = mpsc::channel();
        let printer = {
            let (gate, done) = (Arc::clone(&gate), done.clone());
            thread::spawn(move || {
                gate.print(|| {
                    started.send(()).expect("somebody listens");
                    gone.recv().expect("it is told to go on");
                    done.send("printed").expect("somebody listens");
                });
            })
        };
        starts.recv().unwrap();
        let editor = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || {
                gate.prompt_comes();
                done.send("prompt").expect("somebody listens");
            })
        };
        go.send(()).unwrap();
        assert_eq!(events.recv(), Ok("printed"));
        assert_eq!(events.recv(), Ok("prompt"));
        printer.join().unwrap();
        editor.join().unwrap();
    }

    #[test]
    fn what_goes_through_the_prompt_is_waited_for() {
        let gate = Gate::default();
        gate.prompt_comes();
        gate.prompt_painted();
        gate.print(|| gate.prompt_painted());
        // The line ends while a text is on its way: nothing is waited for.
        gate.print(|| gate.prompt_gone());
    }

    #[test]
    fn a_prompt_that_never_comes_is_waited_for_once() {
        let gate = Gate::default();
        gate.print(|| ());
        assert!(gate.state().gave_up, "the next ones go on at once");
        gate.print(|| ());
        gate.prompt_comes();
        gate.prompt_painted();
        assert!(!gate.state().gave_up);
    }
}
