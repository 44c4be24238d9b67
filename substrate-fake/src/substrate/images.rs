//! Images.

use substrate_core::{Error, EventKind, Image, ImageFile, Result};

use crate::call::Call;
use crate::state::{State, image};

/// An image reference is at most as long as a path.
const LONGEST: usize = 4_096;

pub(super) async fn ensure(call: &Call<'_>, reference: &str) -> Result<Image> {
    let odd = |character: char| character.is_control() || character.is_whitespace();
    if reference.is_empty() || reference.len() > LONGEST || reference.contains(odd) {
        return Err(Error::invalid_input(
            "the image reference is empty, longer than 4,096 bytes, or has a space or a control character in it",
        ));
    }
    call.inner.descriptor.capabilities.require_image(reference)?;
    check_file(reference).await?;
    let look = |state: &mut State, _| Ok(state.images.get(reference).cloned());
    if let Some(image) = call.inner.read(None, look).await? {
        return Ok(image);
    }
    if reference.starts_with("missing") {
        return Err(Error::not_found(format!(
            "the image `{reference}` is neither here nor where images come from"
        )));
    }
    call.change(|change| {
        let created = change.tick();
        // Somebody else may have fetched it since the look.
        let fresh = !change.state.images.contains_key(reference);
        let image = change
            .state
            .images
            .entry(reference.to_owned())
            .or_insert_with(|| image(reference, created))
            .clone();
        if fresh {
            change.happened_to(EventKind::ImageAvailable, reference);
        }
        Ok(image)
    })
    .await
}

/// That a reference to a file names one that is there: this much of the machine outside is real.
pub(super) async fn check_file(reference: &str) -> Result<()> {
    match ImageFile::in_reference(reference)? {
        Some(file) => file.open().await.map(drop),
        None => Ok(()),
    }
}
