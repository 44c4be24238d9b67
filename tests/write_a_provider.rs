//! The provider of the example is certified like every other one.

use std::sync::Arc;

use substrate_conformance::{Guest, Program, Setup};

#[path = "../examples/write_a_provider/process.rs"]
mod process;
#[path = "../examples/write_a_provider/provider.rs"]
mod provider;

/// A POSIX system, whatever its shell: some take `\\n` for a line end when they `echo`.
fn guest() -> Guest {
    let plain = Guest::busybox();
    Guest::new("host", move |program| match program {
        Program::ServeWithLog(lines) => {
            let script = r#"printf '%s\n' "$@"; trap "exit 0" TERM; while :; do sleep 0.1; done"#;
            let words = ["sh", "-c", script, "sh"].map(str::to_owned).into_iter();
            Some(words.chain(lines.iter().cloned()).collect())
        }
        other => plain.argv(other),
    })
}

async fn setup() -> substrates::Result<Setup> {
    let logs = concat!(env!("CARGO_TARGET_TMPDIR"), "/write_a_provider");
    let substrate = Arc::new(provider::Processes::new("process", logs));
    Ok(Setup::new(substrate, "host", guest()).with_missing_image("no-such-image").exclusive())
}

substrate_conformance::certify! { provider: "process", setup: setup }
