//! The one stream type of the contract.

/// A boxed stream that can be sent between tasks. Dropping it ends what feeds it.
pub type BoxStream<T> = futures_util::stream::BoxStream<'static, T>;
