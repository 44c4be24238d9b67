use futures_util::{StreamExt, TryStreamExt};

use crate::error::{Error, Result};
use crate::stream::BoxStream;

/// A stream whose errors tell the call that opened it; see [`Descriptor::about`](crate::Descriptor::about) for what
/// tells them.
pub fn in_context<T: 'static>(
    stream: BoxStream<Result<T>>,
    context: impl Fn(Error) -> Error + Send + 'static,
) -> BoxStream<Result<T>> {
    stream.map_err(context).boxed()
}
