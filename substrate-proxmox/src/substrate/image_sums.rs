//! The hashes of image files, so that a file of gigabytes is read once and not for each guest that is made from it.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use futures_util::TryStreamExt;
use ring::digest::{Context, SHA256};
use substrate_core::{ImageFile, OpenImageFile, Result};

/// How many files are remembered. Who has more of them reads some again.
const CAPACITY: usize = 64;

/// What changes when somebody writes into a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    size: u64,
    modified: SystemTime,
}

/// What a file's content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sum {
    /// SHA-256 in hexadecimal.
    pub(super) text: String,
    pub(super) size: u64,
}

/// The hashes of files by their paths, as long as nobody writes into them.
#[derive(Debug, Clone, Default)]
pub(super) struct ImageSums(Arc<Mutex<HashMap<PathBuf, (Version, Sum)>>>);

impl ImageSums {
    /// The hash of a file; read from its beginning to its end unless it is known.
    ///
    /// # Errors
    /// Those of [`ImageFile::open`], and of reading it.
    pub(super) async fn of(&self, file: &ImageFile) -> Result<Sum> {
        let before = version_of(file).await?;
        if let Some((version, sum)) = self.locked(|known| known.get(file.path()).cloned())
            && Some(&version) == before.as_ref()
        {
            return Ok(sum);
        }
        let sum = read(file, file.open().await?).await?;
        // One that changes while it is read is one of which nobody knows what was read.
        if let Some(before) = before
            && version_of(file).await?.as_ref() == Some(&before)
            && sum.size == before.size
        {
            self.locked(|known| {
                if known.len() >= CAPACITY {
                    known.clear();
                }
                known.insert(file.path().to_owned(), (before, sum.clone()));
            });
        }
        Ok(sum)
    }

    fn locked<T>(&self, work: impl FnOnce(&mut HashMap<PathBuf, (Version, Sum)>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Nothing where the file system keeps no times.
async fn version_of(file: &ImageFile) -> Result<Option<Version>> {
    let opened = file.open().await?.into_file();
    let about = opened.metadata().await.map_err(|failure| file.unreadable(failure))?;
    Ok(about.modified().ok().map(|modified| Version { size: about.len(), modified }))
}

async fn read(file: &ImageFile, opened: OpenImageFile) -> Result<Sum> {
    let size = opened.size();
    let mut pieces = Box::pin(opened.into_stream());
    let mut context = Context::new(&SHA256);
    while let Some(piece) = pieces.try_next().await.map_err(|failure| file.unreadable(failure))? {
        context.update(&piece);
    }
    let mut text = String::with_capacity(64);
    for byte in context.finish().as_ref() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(Sum { text, size })
}

#[cfg(test)]
mod tests {
    use std::fs::{File, FileTimes};
    use std::time::Duration;

    use super::*;

    /// Writes a file, as if at this time.
    fn write(path: &std::path::Path, content: &str, second: u64) {
        std::fs::write(path, content).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_times(FileTimes::new().set_modified(time))
            .unwrap();
    }

    #[tokio::test]
    async fn a_file_is_read_again_when_it_was_written_and_not_before() {
        let path = std::env::temp_dir().join(format!("substrate-proxmox-sums-{}.iso", std::process::id()));
        let (sums, file) = (ImageSums::default(), ImageFile::new(&path));
        write(&path, "one", 100);
        let one = sums.of(&file).await.unwrap();
        assert_eq!((one.size, one.text.len()), (3, 64));
        // Whoever hides a change like this is believed: so it shows that nothing was read.
        write(&path, "two", 100);
        assert_eq!(sums.of(&file).await.unwrap(), one);
        write(&path, "two", 101);
        let two = sums.of(&file).await.unwrap();
        assert_ne!(two, one);
        write(&path, "three", 101);
        assert_ne!(sums.of(&file).await.unwrap(), two);
        std::fs::remove_file(&path).unwrap();
        assert!(sums.of(&file).await.unwrap_err().is_not_found(), "it is gone, whatever is known of it");
    }
}
