//! The grammar of the commands about blueprints.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use substrates::config::parse_duration;
use substrates::engine::directive::Action;
use substrates::engine::{Pattern, Selector};

use crate::arguments::KeyValue;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check blueprints: every mistake at once, with its place; nothing is touched
    Validate(Place),
    /// Show what has to be done so that everything is as blueprints say; nothing is touched
    Plan {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        selection: Selection,
    },
    /// Bring about what blueprints say; what is as it shall be is left alone
    Deploy(Deploy),
    /// Show what the journal knows: what was deployed, the runs, and who is at work
    State(Place),
    /// Bring back what was before a run
    Rollback {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        consent: Consent,
        /// Back to what was after this run, 0 being before the first [default: before the last one]
        #[arg(long, value_name = "RUN")]
        to: Option<u64>,
    },
    /// Remove what was deployed, in the reverse order
    Destroy {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        consent: Consent,
    },
    /// Show what is no longer as it was deployed; nothing is touched
    Drift {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        selection: Selection,
    },
    /// Keep everything as blueprints say, until interrupted
    Reconcile {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        consent: Consent,
        /// How often everything is looked at, whatever was heard
        #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5m")]
        every: Duration,
        /// Look and mend once
        #[arg(long)]
        once: bool,
    },
    /// Show what carries the marks of deployments that do not know it any more; --yes removes it
    Sweep {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        consent: Consent,
    },
    /// Do something to what was deployed
    Act {
        #[arg(value_parser = parse_action)]
        action: Action,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        selection: Selection,
    },
    /// Draw what blueprints hold, in the order in which it is made; nothing is touched
    Graph {
        #[command(flatten)]
        place: Place,
        /// The language of the picture
        #[arg(long, value_enum, default_value_t = Drawing::Dot)]
        format: Drawing,
    },
    /// Print the JSON Schema of blueprints and manifests, for editors
    Schema,
}

/// Of what, and where it is remembered.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// YAML files; for what is about something deployed also its name
    #[arg(required = true, value_name = "BLUEPRINT")]
    pub(crate) blueprints: Vec<PathBuf>,
    /// Where it is kept what was deployed: a folder, or s3://BUCKET/PREFIX with what AWS_… in the environment say
    #[arg(long, value_name = "PLACE", default_value = ".substrates/journal")]
    pub(crate) journal: String,
    /// How many steps are taken at once on one substrate
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) parallel: Option<u16>,
    /// Give a variable a value, over the files' own
    ///
    /// Values on a command line can be seen by everybody on this machine: give secrets in the environment, as
    /// `${NAME}`.
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub(crate) variables: Vec<KeyValue>,
    /// Read values of variables from a YAML or JSON map; later files win, and --var over all
    #[arg(long = "var-file", value_name = "FILE")]
    pub(crate) variable_files: Vec<PathBuf>,
    /// The environment that is worked in, for manifests that are only for some
    #[arg(long, value_name = "NAME")]
    pub(crate) environment: Option<String>,
}

/// Which resources of it.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Only these: `web`, `shop/web`, `shop/web[0]`, `shop/*`; any of several
    #[arg(long, value_name = "PATTERN")]
    pub(crate) only: Vec<Only>,
    /// Only those with this label; all of several
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<KeyValue>,
    /// Only those on this substrate; any of several
    #[arg(long = "on", value_name = "NAME")]
    facilities: Vec<String>,
}

impl Selection {
    pub(crate) fn selector(&self) -> Selector {
        let named = self.only.iter().fold(Selector::all(), |all, one| all.resource(one.pattern.clone()));
        let labelled = self.labels.iter().fold(named, |all, one| all.labelled(&one.key, &one.value));
        self.facilities.iter().fold(labelled, Selector::on)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Consent {
    /// Do not ask; needed where nobody can be asked
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) consent: Consent,
    /// Undo everything at once when something fails
    #[arg(long)]
    pub(crate) rollback_on_failure: bool,
    /// Write down who waited for whom, and what took how long: as a picture (.svg), else as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) timeline: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Drawing {
    /// For Graphviz
    Dot,
    /// For Markdown
    Mermaid,
}

/// A pattern, and how it was written.
#[derive(Debug, Clone)]
pub(crate) struct Only {
    pub(crate) pattern: Pattern,
    pub(crate) written: String,
}

impl FromStr for Only {
    // The parser wants an error type, and that of the engine is a plain text.
    type Err = std::io::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pattern = text.parse().map_err(std::io::Error::other::<String>)?;
        Ok(Self { pattern, written: text.to_owned() })
    }
}

/// `deploy` and `destroy` are commands of their own.
fn parse_action(text: &str) -> Result<Action, String> {
    let known = Action::ALL.iter().filter(|action| !matches!(action, Action::Deploy | Action::Destroy));
    let known: Vec<Action> = known.copied().collect();
    known.iter().copied().find(|action| action.as_str() == text).ok_or_else(|| {
        let words: Vec<&str> = known.iter().map(|action| action.as_str()).collect();
        format!("known actions: {}", words.join(", "))
    })
}
