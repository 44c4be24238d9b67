//! Blueprints: checked, planned, deployed, rolled back.
//!
//! `arguments` is the grammar, `documents` reads what is named, `session` is the engine for one command, `views` look,
//! `changes` change and `upkeep` keeps; `consent` asks before that, and `interrupt` stops it.

pub(crate) mod arguments;
mod changes;
mod consent;
mod documents;
mod interrupt;
mod session;
mod upkeep;
mod views;

use crate::arguments::Global;
use crate::ending::Ending;
use crate::output::Output;
use arguments::Command;

pub(crate) async fn run(global: &Global, output: Output, command: &Command) -> Result<(), Ending> {
    match command {
        Command::Validate(place) => views::validate(global, output, place).await,
        Command::Plan { place, selection } => views::plan(global, output, place, selection).await,
        Command::Deploy(asked) => changes::deploy(global, output, asked).await,
        Command::State(place) => views::state(output, place).await,
        Command::Rollback { place, selection, consent, to } => {
            changes::rollback(global, output, place, selection, consent, *to).await
        }
        Command::Destroy { place, selection, consent } => {
            changes::destroy(global, output, place, selection, consent).await
        }
        Command::Drift { place, selection } => upkeep::drift(global, output, place, selection).await,
        Command::Reconcile { place, selection, consent, every, once } => {
            upkeep::reconcile(global, output, place, selection, consent, (*every, *once)).await
        }
        Command::Sweep { place, consent } => upkeep::sweep(global, output, place, consent).await,
        Command::Act { action, place, selection } => {
            upkeep::act(global, output, *action, place, selection).await
        }
        Command::Graph { place, format } => views::graph(global, output, place, *format).await,
        Command::Schema => views::schema(output),
    }
}
