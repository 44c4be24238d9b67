//! A stop whose caller has gone goes on in the server, and gets in the way of what comes next.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use substrate_core::{InstanceName, InstanceState, StopMode, Substrate};
use substrate_lxc::LxcSubstrate;

use crate::lab::Lab;

on_both!(an_instance_whose_stop_was_dropped_can_be_stopped_and_deleted);

const ROUNDS: u64 = 50;
/// So many at once keep the server busy, and what overlaps there overlaps longer.
const AT_ONCE: usize = 5;

async fn an_instance_whose_stop_was_dropped_can_be_stopped_and_deleted(lab: Lab) {
    let server = &lab.server().await;
    let lab = &lab;
    stream::iter(0..ROUNDS)
        .for_each_concurrent(AT_ONCE, |round| async move {
            let name = lab.running(server, &format!("torn{round}")).await;
            // Each round is dropped at another moment: before it is sent, with the server at work, near its end.
            let moment = Duration::from_millis(round * 6);
            drop_a_stop(server, &name, moment).await;
            if round % 2 == 1 {
                server.stop_instance(&name, StopMode::Force).await.unwrap();
                let state = server.get_instance(&name).await.unwrap().state;
                assert_eq!(state, InstanceState::Stopped, "dropped after {moment:?}");
                server.start_instance(&name).await.unwrap();
                drop_a_stop(server, &name, moment / 2).await;
            }
            let deleted = server.delete_instance(&name, true).await;
            assert!(deleted.is_ok(), "dropped after {moment:?}: {deleted:?}");
            let absent = server.get_instance(&name).await.unwrap_err();
            assert!(absent.is_not_found(), "dropped after {moment:?}: {absent}");
        })
        .await;
}

async fn drop_a_stop(server: &LxcSubstrate, name: &InstanceName, moment: Duration) {
    let mode = StopMode::GracefulThenForce(Duration::from_secs(30));
    drop(tokio::time::timeout(moment, server.stop_instance(name, mode)).await);
}
