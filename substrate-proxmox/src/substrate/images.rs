//! Images: files that guests are made from, and guests that are templates. Files can be fetched by a node.

use serde_json::Value;
use substrate_core::{Error, Image, ImageFile, Outcome, Result};

use super::ProxmoxSubstrate;
use super::storage::storage_in;
use crate::client::{Form, Upid, path};
use crate::convert::guest::time;
use crate::convert::text::{Fields, text};
use crate::options::is_plain;

/// What images are, on storages.
const IMAGES: [&str; 3] = ["import", "iso", "vztmpl"];

impl ProxmoxSubstrate {
    /// Files that guests are made from, and templates.
    pub(super) async fn images(&self) -> Result<Vec<Image>> {
        let mut images: Vec<Image> = self
            .contents(&IMAGES)
            .await?
            .into_iter()
            .filter(|stored| IMAGES.contains(&stored.content.content.as_str()))
            .map(|stored| {
                let id = stored.content.volid;
                let mut image = Image::new(id.clone(), vec![id]);
                image.size_bytes = stored.content.size;
                image.created_at = stored.content.ctime.map(time);
                image
            })
            .collect();
        // The same file on several nodes is one image.
        images.dedup_by(|one, other| one.id == other.id);
        let view = self.nodes_view().await?;
        let (fresh, silent) = &*view;
        if !silent.is_empty() {
            return Err(Error::unavailable(format!(
                "the list of images is not complete: {} does not answer",
                silent.join(", ")
            )));
        }
        for listed in fresh.iter().filter(|listed| listed.template && self.kinds.contains(&listed.place.kind))
        {
            let names = listed.name.iter().cloned().collect();
            images.push(Image::new(listed.place.vmid.to_string(), names));
        }
        Ok(images)
    }

    /// The image of this name; fetched when it is not there, and is a URL or an archive of the appliance index.
    pub(super) async fn image(&self, reference: &str) -> Result<Image> {
        if reference.is_empty() || reference.chars().any(char::is_control) {
            return Err(Error::invalid_input("the image is empty or contains a control character"));
        }
        self.descriptor.get().capabilities.require_image(reference)?;
        if let Some(file) = ImageFile::in_reference(reference)? {
            return self.imported(&file, None).await;
        }
        if reference.starts_with("https://") || reference.starts_with("http://") {
            return self.fetched(&Source::read(reference)?).await;
        }
        match self.image_at_hand(reference).await? {
            Some(image) => Ok(image),
            None => self.appliance(reference).await,
        }
    }

    pub(super) async fn image_at_hand(&self, reference: &str) -> Result<Option<Image>> {
        let images = self.images().await?;
        let is_it = |image: &Image| image.id == reference || image.names.iter().any(|name| name == reference);
        Ok(images.into_iter().find(is_it))
    }

    /// The image that a task brings, when it has: `answer` is that of the call which began it.
    pub(super) async fn arrived(&self, attempt: &str, answer: &Value, id: &str) -> Result<Image> {
        self.client.follow(attempt, &Upid::parse(attempt, answer)?).await?;
        let image = self.image_at_hand(id).await?;
        image.ok_or_else(|| {
            Error::internal(format!("cannot {attempt}: the node says that it did, and `{id}` is not there"))
                .with_outcome(Outcome::Unknown)
        })
    }

    /// The node and the storage for a new file of this kind: those of the configuration, where they hold such.
    pub(super) async fn place_for(&self, content: &str, node: Option<&String>) -> Result<(String, String)> {
        let node = match node.or(self.config.node.as_ref()) {
            Some(node) => node.clone(),
            None => self.roomiest_node().await?,
        };
        let all = self.storages(&node).await?;
        let preferred = |storage: &&crate::convert::inventory::Storage| {
            Some(&storage.storage) == self.config.storage.as_ref()
        };
        let fit: Vec<_> = all.iter().filter(|storage| storage.is_usable_for(content)).collect();
        match fit.iter().copied().find(preferred).or(fit.first().copied()) {
            Some(storage) => Ok((node, storage.storage.clone())),
            None => Err(Error::not_found(format!("no storage on {node} holds `{content}`"))
                .with_hint("an administrator allows it: Datacenter → Storage → Content")),
        }
    }

    /// Has a node fetch a file.
    async fn fetched(&self, source: &Source<'_>) -> Result<Image> {
        let (node, storage) = self.place_for(source.content, None).await?;
        let id = format!("{storage}:{}/{}", source.content, source.file);
        let _one = self.names.hold("image", &id).await;
        if let Some(image) = self.image_at_hand(&id).await? {
            return Ok(image);
        }
        let form = Form::new()
            .with("content", source.content)
            .with("filename", source.file)
            .with("url", source.url)
            .maybe("checksum-algorithm", source.checksum.map(|(algorithm, _)| algorithm))
            .maybe("checksum", source.checksum.map(|(_, sum)| sum));
        let attempt = "have the node fetch the image";
        let target = path(&["nodes", &node, "storage", &storage, "download-url"]);
        let data = self.client.post(attempt, &target, form).await?;
        self.arrived(attempt, &data, &id).await
    }

    /// Has a node fetch an archive of a container that the appliance index knows.
    async fn appliance(&self, reference: &str) -> Result<Image> {
        let none = || {
            Error::not_found(format!("there is no image `{}`", reference.escape_debug())).with_hint(
                "upload it, make a template of a guest, name a URL, or an archive that `pveam available` shows",
            )
        };
        let storage = storage_in(reference).ok_or_else(none)?;
        let archive = reference.split_once(":vztmpl/").map(|(_, archive)| archive).ok_or_else(none)?;
        let node = match &self.config.node {
            Some(node) => node.clone(),
            None => self.roomiest_node().await?,
        };
        if !self
            .storages(&node)
            .await?
            .iter()
            .any(|one| one.storage == storage && one.is_usable_for("vztmpl"))
        {
            return Err(none());
        }
        let target = path(&["nodes", &node, "aplinfo"]);
        let index: Vec<Fields> = self.client.get("read the appliance index", &target, Form::new()).await?;
        if !index.iter().any(|one| text(one, "template").as_deref() == Some(archive)) {
            return Err(none());
        }
        let _one = self.names.hold("image", reference).await;
        let attempt = "have the node fetch the archive";
        let form = Form::new().with("storage", storage).with("template", archive);
        let data = self.client.post(attempt, &target, form).await?;
        self.arrived(attempt, &data, reference).await
    }
}

/// What a file of this name is on a storage, and the ending that says so.
pub(super) fn content_of(file: &str) -> Option<(&'static str, &'static str)> {
    const ENDINGS: [(&str, &[&str]); 3] = [
        ("import", &[".qcow2", ".raw", ".vmdk", ".ova"]),
        ("iso", &[".iso"]),
        ("vztmpl", &[".tar.gz", ".tar.xz", ".tar.zst"]),
    ];
    ENDINGS.into_iter().find_map(|(content, endings)| {
        endings.iter().find(|ending| file.ends_with(**ending)).map(|ending| (content, *ending))
    })
}

/// Where a file comes from: `https://host/disk.qcow2`, with `#sha256:…` for what it must be.
#[derive(Debug, PartialEq, Eq)]
struct Source<'a> {
    url: &'a str,
    file: &'a str,
    content: &'static str,
    checksum: Option<(&'a str, &'a str)>,
}

impl<'a> Source<'a> {
    fn read(reference: &'a str) -> Result<Self> {
        let wrong = |why: &str| {
            // A URL may hold a password.
            Err(Error::invalid_input(format!("the image's URL cannot be fetched: {why}")))
        };
        let (url, sum) = match reference.split_once('#') {
            Some((url, sum)) => (url, Some(sum)),
            None => (reference, None),
        };
        let checksum = match sum.map(|sum| sum.split_once(':')) {
            None => None,
            Some(Some((algorithm @ ("md5" | "sha1" | "sha224" | "sha256" | "sha384" | "sha512"), sum)))
                if !sum.is_empty() && sum.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
            {
                Some((algorithm, sum))
            }
            Some(_) => return wrong("what follows `#` is not of the form `sha256:…`"),
        };
        let path = url.split(['?']).next().unwrap_or_default();
        let file = path.rsplit('/').next().unwrap_or_default();
        if path.matches('/').count() < 3 || !is_plain(file) || file.len() > 255 {
            return wrong("it does not end in a plain file name");
        }
        let Some((content, _)) = content_of(file) else {
            return wrong(
                "Proxmox VE goes by its ending: .qcow2, .raw, .vmdk or .ova for disks, .iso, .tar.gz, .tar.xz or .tar.zst for containers",
            );
        };
        Ok(Self { url, file, content, checksum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_tells_what_it_is_by_its_ending() {
        let source = Source::read("https://example.org/a/disk.qcow2?x=1#sha256:0aF").unwrap();
        assert_eq!(
            (source.file, source.content, source.checksum),
            ("disk.qcow2", "import", Some(("sha256", "0aF")))
        );
        assert_eq!(source.url, "https://example.org/a/disk.qcow2?x=1");
        assert_eq!(Source::read("https://example.org/ct.tar.zst").unwrap().content, "vztmpl");
        for wrong in [
            "https://user:hunter2@example.org",
            "https://e.org/hunter2.img",
            "https://e.org/a.iso#x",
            "https://e.org/",
        ] {
            let error = Source::read(wrong).unwrap_err();
            assert!(error.is_invalid_input() && !error.to_string().contains("hunter2"), "{error}");
        }
    }
}
