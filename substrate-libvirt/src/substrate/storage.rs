//! Pools and their volumes.

use std::time::{Duration, Instant};

use substrate_core::{Error, Result};
use virt::connect::Connect;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt::stream::Stream;

use crate::convert::element::Element;
use crate::convert::volume::{VolumeDocument, VolumeFacts};
use crate::error::Attempt;
use crate::name;

/// Bytes per piece of a volume that is read or written.
const PIECE: usize = 256 << 10;
/// How long a pool's folder may be not to be read, and how often it is tried.
const REFRESH_LIMIT: Duration = Duration::from_secs(30);
const REFRESH_AGAIN: Duration = Duration::from_millis(100);

/// A pool by its name.
pub(super) fn pool(connect: &Connect, name: &str) -> Result<StoragePool> {
    let Some(pool) =
        connect.lookup_storage_pool_by_name(name).attempt_to_find("look for the storage pool")?
    else {
        return Err(Error::not_found(format!("the server has no storage pool called `{name}`"))
            .with_hint("name another one as `pool` or `image_pool` in the settings, or define it"));
    };
    if !pool.is_active().attempt("look at the storage pool")? {
        return Err(Error::conflict(format!("the storage pool `{name}` is not active"))
            .with_hint(format!("start it: virsh pool-start {name}")));
    }
    Ok(pool)
}

/// The folder of a pool, on the server.
pub(super) fn folder(pool: &StoragePool) -> Result<String> {
    let document = Element::parse(&pool.xml_desc(0).attempt("describe the storage pool")?)?;
    let folder = document.text_at("target/path").filter(|path| path.starts_with('/')).map(str::to_owned);
    folder.ok_or_else(|| {
        Error::unsupported("the storage pool is no folder, and snapshots need one for their files")
    })
}

/// A volume by its name, if it is there.
pub(super) fn volume(pool: &StoragePool, name: &str) -> Result<Option<StorageVol>> {
    pool.lookup_storage_vol_by_name(name).attempt_to_find("look for the volume")
}

/// The same also for files that were put into the pool's folder behind libvirt's back.
pub(super) fn volume_or_file(pool: &StoragePool, name: &str) -> Result<Option<StorageVol>> {
    if let Some(found) = volume(pool, name)? {
        return Ok(Some(found));
    }
    // Refused while something is being made in the pool: then the file is found the next time.
    let _ = pool.refresh(0);
    volume(pool, name)
}

pub(super) fn facts(volume: &StorageVol) -> Result<VolumeFacts> {
    VolumeFacts::read(&volume.xml_desc(0).attempt("describe the volume")?)
}

pub(super) fn make(pool: &StoragePool, document: &VolumeDocument) -> Result<StorageVol> {
    StorageVol::create_xml(pool, &document.to_xml(), 0).attempt("make the volume")
}

/// Deletes a volume; one that is gone is no error.
pub(super) fn delete(pool: &StoragePool, name: &str) -> Result<()> {
    match volume(pool, name)? {
        None => Ok(()),
        Some(volume) => volume.delete(0).attempt_to_find("delete the volume").map(drop),
    }
}

/// The volume that a file is, also one that the hypervisor has made beside the pool's own.
pub(super) fn volume_at(connect: &Connect, pool_name: &str, path: &str) -> Result<Option<StorageVol>> {
    let look = || connect.lookup_storage_vol_by_path(path).attempt_to_find("look for a disk's volume");
    if let Some(found) = look()? {
        return Ok(Some(found));
    }
    refresh(&pool(connect, pool_name)?)?;
    look()
}

/// Reads a pool's folder anew. Refused while something is made in the pool: then it is asked again.
pub(super) fn refresh(pool: &StoragePool) -> Result<()> {
    let begin = Instant::now();
    loop {
        match pool.refresh(0).attempt("look through the storage pool") {
            Err(error)
                if error.message().contains("asynchronous jobs") && begin.elapsed() < REFRESH_LIMIT =>
            {
                // libvirt tells nobody when such a job is over.
                std::thread::sleep(REFRESH_AGAIN);
            }
            result => return result.map(drop),
        }
    }
}

/// Deletes everything in a pool that belongs to a machine, also what the hypervisor has made there.
pub(super) fn delete_every_of(connect: &Connect, pool_name: &str, uuid: &str) -> Result<()> {
    let Some(pool) =
        connect.lookup_storage_pool_by_name(pool_name).attempt_to_find("look for the storage pool")?
    else {
        return Ok(());
    };
    refresh(&pool)?;
    for volume in pool.list_volumes().attempt("list the volumes")? {
        if name::belongs_to(uuid, &volume) {
            delete(&pool, &volume)?;
        }
    }
    Ok(())
}

/// Deletes everything that a machine owns.
pub(super) fn delete_all_of(connect: &Connect, pool_name: &str, uuid: &str) -> Result<()> {
    let Some(pool) =
        connect.lookup_storage_pool_by_name(pool_name).attempt_to_find("look for the storage pool")?
    else {
        return Ok(());
    };
    name::all_of(uuid).iter().try_for_each(|volume| delete(&pool, volume))
}

/// Reads from an offset on and hands each piece to `take`, to the end of the volume's file.
pub(super) fn read_from(
    connect: &Connect,
    volume: &StorageVol,
    offset: u64,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let stream = Stream::new(connect, 0).attempt("open a stream")?;
    volume.download(&stream, offset, 0, 0).attempt("read the volume")?;
    let mut buffer = vec![0; PIECE];
    loop {
        let read = stream.recv(&mut buffer).attempt("read the volume")?;
        let read = usize::try_from(read).unwrap_or(0);
        if read == 0 {
            return stream.finish().attempt("read the volume");
        }
        if let Err(error) = take(buffer.get(..read).unwrap_or_default()) {
            let _ = stream.abort();
            return Err(error);
        }
    }
}

/// Makes a volume that holds these bytes.
pub(super) fn make_with(
    connect: &Connect,
    pool: &StoragePool,
    name: &str,
    bytes: &[u8],
) -> Result<StorageVol> {
    let document = VolumeDocument {
        name: name.to_owned(),
        capacity: bytes.len() as u64,
        format: "raw".to_owned(),
        backing: None,
    };
    let volume = make(pool, &document)?;
    let written = (|| {
        let upload = Stream::new(connect, 0).attempt("open a stream")?;
        volume.upload(&upload, 0, 0, 0).attempt("write the volume")?;
        send(&upload, bytes)?;
        upload.finish().attempt("write the volume")
    })();
    match written {
        Ok(()) => Ok(volume),
        Err(error) => {
            let _ = volume.delete(0);
            Err(error)
        }
    }
}

/// Sends all of it: a stream takes what it has room for.
fn send(upload: &Stream, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        let sent = upload.send(bytes).attempt("write the volume")?;
        let sent = usize::try_from(sent).unwrap_or(0);
        if sent == 0 {
            return Err(Error::protocol("the server takes no more of the volume"));
        }
        bytes = bytes.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// Copies a volume's file byte for byte into a new volume, with everything that it holds inside.
pub(super) fn copy_bytes(
    connect: &Connect,
    pool: &StoragePool,
    source: &StorageVol,
    name: &str,
) -> Result<StorageVol> {
    let facts = facts(source)?;
    // As what it will be: made as plain bytes, it would be taken for such until the pool is read again, and that is
    // refused while anything else is being made in it.
    let document = VolumeDocument {
        name: name.to_owned(),
        capacity: facts.capacity,
        format: facts.format,
        backing: None,
    };
    let target = make(pool, &document)?;
    let copied = (|| {
        let upload = Stream::new(connect, 0).attempt("open a stream")?;
        target.upload(&upload, 0, 0, 0).attempt("write the volume")?;
        read_from(connect, source, 0, |piece| send(&upload, piece))?;
        upload.finish().attempt("write the volume")
    })();
    match copied {
        Ok(()) => Ok(target),
        Err(error) => {
            let _ = target.delete(0);
            Err(error)
        }
    }
}
