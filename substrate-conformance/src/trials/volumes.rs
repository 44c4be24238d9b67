//! Volumes: storage that outlives an instance.

use substrate_core::{ErrorKind, InstanceConfig, Volume, VolumeMount, VolumeName, VolumeSource, VolumeSpec};

use crate::context::Context;
use crate::guest::Program;
use crate::trial::trials;
use crate::verdict::{Verdict, conflict, ensure, not_found, refused, same};

trials! {
    a_volume_is_listed => CreateVolume [Operation::ListVolumes];
    a_taken_volume_name_is_already_exists => CreateVolume [Operation::ListVolumes];
    a_volume_carries_its_labels => CreateVolume [Feature::ResourceLabels, Operation::ListVolumes];
    a_size_is_kept_or_unsupported => CreateVolume [Operation::ListVolumes];
    an_unknown_volume_option_is_refused => CreateVolume [Operation::ListVolumes];
    volumes_are_listed_in_order_of_names => ListVolumes [Operation::CreateVolume];
    a_deleted_volume_is_gone_and_its_name_free => DeleteVolume [Operation::CreateVolume, Operation::ListVolumes];
    delete_of_a_missing_volume_is_not_found => DeleteVolume;
    delete_of_a_volume_in_use_is_a_conflict => DeleteVolume [Operation::CreateVolume, Feature::CreateVolumes, Operation::StopInstance];
    a_volume_outlives_its_instance
        => CreateVolume [Feature::CreateVolumes, Operation::ExecuteCommand];
    a_new_volume_of_an_old_name_is_empty
        => DeleteVolume [Operation::CreateVolume, Feature::CreateVolumes, Operation::ExecuteCommand];
    a_read_only_mount_cannot_be_written
        => CreateVolume [Feature::CreateVolumes, Operation::ExecuteCommand];
}

async fn listed(context: &Context, name: &VolumeName) -> Verdict<Vec<Volume>> {
    let volumes = context.substrate().list_volumes().await?;
    Ok(volumes.into_iter().filter(|volume| volume.name == *name).collect())
}

/// A configuration of an instance that mounts the volume at `/data`.
fn mounting(context: &Context, word: &str, volume: &Volume, read_only: bool) -> Verdict<InstanceConfig> {
    let source = VolumeSource::Volume(volume.name.clone());
    Ok(context.config(word)?.with_volume(VolumeMount { source, target: "/data".to_owned(), read_only }))
}

async fn a_volume_is_listed(context: &Context) -> Verdict {
    let made = context.volume("data").await?;
    let found = listed(context, &made.name).await?;
    same("what is listed", found.len(), 1)?;
    same("its id", found.first().map(|volume| &volume.id), Some(&made.id))
}

async fn a_taken_volume_name_is_already_exists(context: &Context) -> Verdict {
    let made = context.volume("data").await?;
    let again = context.substrate().create_volume(&VolumeSpec::new(made.name.clone())).await;
    refused("a second volume of the name", again, &[ErrorKind::AlreadyExists])?;
    same("what is listed", listed(context, &made.name).await?.len(), 1)
}

async fn a_volume_carries_its_labels(context: &Context) -> Verdict {
    let spec = context.volume_spec("data")?.with_label("role", "a \"store\" = 1");
    context.substrate().create_volume(&spec).await?;
    for volume in listed(context, &spec.name).await? {
        ensure!(volume.labels.contains_all(&spec.labels), "its labels are {:?}", volume.labels);
    }
    Ok(())
}

async fn a_size_is_kept_or_unsupported(context: &Context) -> Verdict {
    let spec = context.volume_spec("sized")?.with_size_bytes(1 << 30);
    match context.substrate().create_volume(&spec).await {
        Err(error) if error.is_unsupported() => {
            same("what is listed", listed(context, &spec.name).await?.len(), 0)
        }
        Err(error) => Err(error.into()),
        Ok(made) => {
            same("its size", made.size_bytes, Some(1 << 30))?;
            let found = listed(context, &spec.name).await?;
            same("its listed size", found.first().and_then(|volume| volume.size_bytes), Some(1 << 30))
        }
    }
}

async fn an_unknown_volume_option_is_refused(context: &Context) -> Verdict {
    let mut spec = context.volume_spec("odd")?;
    spec.options.insert("sc-no-such-option".to_owned(), true.into());
    let create = context.substrate().create_volume(&spec).await;
    refused("an option that nobody has", create, &[ErrorKind::InvalidInput, ErrorKind::Unsupported])?;
    same("what is listed", listed(context, &spec.name).await?.len(), 0)
}

async fn volumes_are_listed_in_order_of_names(context: &Context) -> Verdict {
    for word in ["b", "c", "a"] {
        context.volume(word).await?;
    }
    let all = context.substrate().list_volumes().await?;
    ensure!(all.is_sorted_by(|one, other| one.name <= other.name), "the list is not in order");
    let own = context.unique("");
    let found: Vec<_> = all.iter().filter_map(|volume| volume.name.as_str().strip_prefix(&own)).collect();
    same("the volumes", found, ["a", "b", "c"])
}

async fn a_deleted_volume_is_gone_and_its_name_free(context: &Context) -> Verdict {
    for _ in 0..2 {
        let made = context.volume("data").await?;
        context.substrate().delete_volume(&made.name).await?;
        same("what is listed", listed(context, &made.name).await?.len(), 0)?;
        not_found("a second delete", context.substrate().delete_volume(&made.name).await)?;
    }
    Ok(())
}

async fn delete_of_a_missing_volume_is_not_found(context: &Context) -> Verdict {
    let name = VolumeName::new(context.unique("none"))?;
    not_found("delete", context.substrate().delete_volume(&name).await)
}

async fn delete_of_a_volume_in_use_is_a_conflict(context: &Context) -> Verdict {
    let volume = context.volume("data").await?;
    let name = context.running_from(&mounting(context, "user", &volume, false)?).await?;
    conflict("delete while it runs", context.substrate().delete_volume(&volume.name).await)?;
    context.substrate().stop_instance(&name, substrate_core::StopMode::Force).await?;
    conflict("delete while it is stopped", context.substrate().delete_volume(&volume.name).await)?;
    context.substrate().delete_instance(&name, true).await?;
    Ok(context.substrate().delete_volume(&volume.name).await?)
}

async fn a_volume_outlives_its_instance(context: &Context) -> Verdict {
    let volume = context.volume("data").await?;
    let first = context.running_from(&mounting(context, "first", &volume, false)?).await?;
    context.write_file(&first, "/data/note", "kept").await?;
    context.substrate().delete_instance(&first, true).await?;
    let second = context.running_from(&mounting(context, "second", &volume, false)?).await?;
    same("the file", context.read_file(&second, "/data/note").await?.as_deref(), Some("kept"))
}

async fn a_new_volume_of_an_old_name_is_empty(context: &Context) -> Verdict {
    let volume = context.volume("data").await?;
    let first = context.running_from(&mounting(context, "first", &volume, false)?).await?;
    context.write_file(&first, "/data/note", "secret").await?;
    context.substrate().delete_instance(&first, true).await?;
    context.substrate().delete_volume(&volume.name).await?;
    let volume = context.volume("data").await?;
    let second = context.running_from(&mounting(context, "second", &volume, false)?).await?;
    same("the file", context.read_file(&second, "/data/note").await?, None)
}

async fn a_read_only_mount_cannot_be_written(context: &Context) -> Verdict {
    let volume = context.volume("data").await?;
    let writer = context.running_from(&mounting(context, "writer", &volume, false)?).await?;
    context.write_file(&writer, "/data/note", "kept").await?;
    let reader = context.running_from(&mounting(context, "reader", &volume, true)?).await?;
    same("the file", context.read_file(&reader, "/data/note").await?.as_deref(), Some("kept"))?;
    let write = Program::WriteFile("/data/note".to_owned(), "changed".to_owned());
    ensure!(!context.execute(&reader, &write).await?.success(), "a read-only mount was written");
    same("the file", context.read_file(&writer, "/data/note").await?.as_deref(), Some("kept"))
}
