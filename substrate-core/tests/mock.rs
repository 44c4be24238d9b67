//! `MockSubstrate` in a user's unit test.

#![cfg(feature = "mock")]

use substrate_core::{Error, InstanceName, MockSubstrate, Result, Substrate};

/// What a user might write: stop, and be content when it is gone already.
async fn stop_if_there(substrate: &dyn Substrate, name: &InstanceName) -> Result<()> {
    match substrate.stop_instance(name, substrate_core::StopMode::Force).await {
        Err(error) if error.is_not_found() => Ok(()),
        result => result,
    }
}

#[tokio::test]
async fn a_mock_answers_as_it_is_told() {
    let mut mock = MockSubstrate::new();
    mock.expect_stop_instance().times(1).returning(|_, _| Err(Error::not_found("gone")));
    assert!(stop_if_there(&mock, &"web".parse().unwrap()).await.is_ok());
}
