//! Images.

use substrate_core::{ErrorKind, Image, InstanceState, Operation};

use crate::context::Context;
use crate::trial::trials;
use crate::verdict::{Failure, Verdict, ensure, not_found, refused, same};

trials! {
    the_image_in_use_is_listed => ListImages;
    an_image_at_hand_is_ensured_without_change => EnsureImage [Operation::ListImages];
    a_missing_image_is_not_found => EnsureImage;
    a_reference_that_is_none_is_invalid_input => EnsureImage;
    a_file_becomes_an_image_once => EnsureImage [Feature::ImageFiles, Operation::ListImages];
    a_file_that_is_imported_by_several_at_once_is_one_image => EnsureImage [Feature::ImageFiles];
    an_instance_is_made_from_a_file_and_starts => CreateInstance [Feature::ImageFiles];
    a_missing_file_is_not_found_and_makes_nothing => CreateInstance [Feature::ImageFiles, Operation::EnsureImage];
    a_file_by_a_relative_path_is_invalid_input => EnsureImage [Feature::ImageFiles];
    an_undeclared_file_is_refused => EnsureImage;
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

/// How an image file is asked for.
fn file(context: &Context) -> Verdict<String> {
    match &context.setup().image_file {
        Some(path) => Ok(format!("file:{path}")),
        None => Err(Failure::skipped("the setup names no image file")),
    }
}

async fn imported(context: &Context, reference: &str) -> Verdict<Image> {
    let image = context.substrate().ensure_image(reference).await?;
    context.run().keep_image(&image.id);
    Ok(image)
}

async fn a_file_becomes_an_image_once(context: &Context) -> Verdict {
    let file = file(context)?;
    let first = imported(context, &file).await?;
    let second = imported(context, &file).await?;
    same("the id", &second.id, &first.id)?;
    let images = context.substrate().list_images().await?;
    same("how often it is listed", images.iter().filter(|image| image.id == first.id).count(), 1)
}

async fn a_file_that_is_imported_by_several_at_once_is_one_image(context: &Context) -> Verdict {
    let file = file(context)?;
    let import = || imported(context, &file);
    let images = futures_util::future::try_join_all([import(), import(), import()]).await?;
    let ids: std::collections::BTreeSet<&str> = images.iter().map(|image| image.id.as_str()).collect();
    same("the number of images", ids.len(), 1)
}

async fn an_instance_is_made_from_a_file_and_starts(context: &Context) -> Verdict {
    let file = file(context)?;
    let name = context.stopped_from(&context.config("made")?.with_image(&file)).await?;
    if context.can(Operation::EnsureImage) {
        // For the listing at the end: which one it is.
        imported(context, &file).await?;
    }
    context.substrate().start_instance(&name).await?;
    context.has_state(&name, InstanceState::Running).await
}

async fn a_missing_file_is_not_found_and_makes_nothing(context: &Context) -> Verdict {
    let missing = "file:/nonexistent/sc-no-such-image";
    let refusal = context.substrate().ensure_image(missing).await;
    ensure!(
        refusal.as_ref().err().is_none_or(|error| error.message().contains("/nonexistent/sc-no-such-image")),
        "the error does not name the path: {refusal:?}"
    );
    not_found("the file", refusal)?;
    let config = context.config("made")?.with_image(missing);
    not_found("the file", context.create(&config).await)?;
    context.is_absent(&config.name).await
}

async fn a_file_by_a_relative_path_is_invalid_input(context: &Context) -> Verdict {
    let ensure = context.substrate().ensure_image("file:image.tar").await;
    refused("a relative path", ensure, &[ErrorKind::InvalidInput]).map(drop)
}

async fn an_undeclared_file_is_refused(context: &Context) -> Verdict {
    context.only_without(substrate_core::Feature::ImageFiles)?;
    let ensure = context.substrate().ensure_image("file:/nonexistent/sc-no-such-image").await;
    refused("a file as an image", ensure, &[ErrorKind::Unsupported]).map(drop)
}
