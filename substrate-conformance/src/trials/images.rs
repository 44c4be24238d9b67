//! Images.

use substrate_core::ErrorKind;

use crate::context::Context;
use crate::trial::trials;
use crate::verdict::{Failure, Verdict, ensure, not_found, refused, same};

trials! {
    the_image_in_use_is_listed => ListImages;
    an_image_at_hand_is_ensured_without_change => EnsureImage [Operation::ListImages];
    a_missing_image_is_not_found => EnsureImage;
    a_reference_that_is_none_is_invalid_input => EnsureImage;
}

async fn the_image_in_use_is_listed(context: &Context) -> Verdict {
    let images = context.substrate().list_images().await?;
    let wanted = &context.setup().image;
    let found =
        images.iter().any(|image| image.id == *wanted || image.names.iter().any(|name| name == wanted));
    ensure!(found, "`{wanted}` is not among the {} images", images.len());
    ensure!(images.iter().all(|image| !image.id.is_empty()), "an image has no id");
    Ok(())
}

async fn an_image_at_hand_is_ensured_without_change(context: &Context) -> Verdict {
    let wanted = &context.setup().image;
    let first = context.substrate().ensure_image(wanted).await?;
    let second = context.substrate().ensure_image(wanted).await?;
    same("the id", &second.id, &first.id)?;
    let images = context.substrate().list_images().await?;
    ensure!(images.iter().any(|image| image.id == first.id), "`{}` is not listed", first.id);
    Ok(())
}

async fn a_missing_image_is_not_found(context: &Context) -> Verdict {
    let Some(missing) = &context.setup().missing_image else {
        return Err(Failure::skipped("the setup names no missing image"));
    };
    not_found("the image", context.substrate().ensure_image(missing).await)
}

async fn a_reference_that_is_none_is_invalid_input(context: &Context) -> Verdict {
    for reference in ["", "a\nb", "\0"] {
        let ensure = context.substrate().ensure_image(reference).await;
        refused(&format!("the image {reference:?}"), ensure, &[ErrorKind::InvalidInput])?;
    }
    Ok(())
}
