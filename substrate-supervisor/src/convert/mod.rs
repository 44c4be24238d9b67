//! Pure functions between supervisord's forms and ours.

pub(crate) mod change;
pub(crate) mod ini;
pub(crate) mod lines;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod record;
pub(crate) mod usage;
pub(crate) mod value;
