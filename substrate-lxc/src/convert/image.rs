//! Images.

use serde::Deserialize;
use substrate_core::Image;

use super::time;

/// An image as the servers describe it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ImageDocument {
    pub(crate) fingerprint: String,
    #[serde(default)]
    aliases: Option<Vec<Alias>>,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    created_at: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Alias {
    #[serde(default)]
    name: String,
}

/// What an alias stands for.
#[derive(Debug, Deserialize)]
pub(crate) struct AliasDocument {
    pub(crate) target: String,
}

impl ImageDocument {
    pub(crate) fn into_image(self) -> Image {
        let names = self.aliases.unwrap_or_default().into_iter().map(|alias| alias.name).collect();
        let mut image = Image::new(self.fingerprint, names);
        image.size_bytes = self.size;
        image.created_at = time::parse(&self.created_at);
        image
    }
}
