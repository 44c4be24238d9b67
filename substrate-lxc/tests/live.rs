//! What real servers do: behaviours beyond the conformance suite, each on LXD and on Incus. Run with `--ignored`
//! and the variables of the lab: `SUBSTRATES_LAB_LXD…` and `SUBSTRATES_LAB_INCUS…`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may panic, in its helping functions too"
)]

/// Each function becomes a test on either server.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => { on_both! { "live: lxd", "live: incus": $($name),* } };
    (alone: $($name:ident),* $(,)?) => { on_both! { "live: lxd, alone", "live: incus, alone": $($name),* } };
    ($lxd:literal, $incus:literal: $($name:ident),*) => {
        mod lxd {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                #[ignore = $lxd]
                async fn $name() {
                    super::$name($crate::lab::Lab::of(substrate_lxc::ServerKind::Lxd)).await;
                }
            )*
        }
        mod incus {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                #[ignore = $incus]
                async fn $name() {
                    super::$name($crate::lab::Lab::of(substrate_lxc::ServerKind::Incus)).await;
                }
            )*
        }
    };
}

#[path = "live/lab.rs"]
mod lab;

#[path = "live/behaviour.rs"]
mod behaviour;
#[path = "live/connections.rs"]
mod connections;
#[path = "live/dropped.rs"]
mod dropped;
#[path = "live/image_files.rs"]
mod image_files;
#[path = "live/outages.rs"]
mod outages;
#[path = "live/speed.rs"]
mod speed;
