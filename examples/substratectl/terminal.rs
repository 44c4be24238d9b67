//! Our own terminal, lent to a command in an instance.

use std::io::{self, IsTerminal};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use substrates::TerminalSize;

/// Whether a command can be lent our terminal. Not when its output goes elsewhere: a terminal mixes both
/// outputs and changes line ends, and a file wants neither.
pub(crate) fn is_here() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Its size now.
pub(crate) fn size() -> TerminalSize {
    tcgetwinsize(io::stdout())
        .map(|size| TerminalSize { columns: size.ws_col, rows: size.ws_row })
        .unwrap_or_default()
}

/// Hands every key to the command as it is, `Ctrl-C` included, until dropped.
pub(crate) struct Raw {
    before: Termios,
}

impl Raw {
    pub(crate) fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone, and with it whoever could be told.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
