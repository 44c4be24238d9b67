//! Who uses a network, an address or a disk: the API refuses no deletion of what guests are on, so they are asked.

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::Value;
use substrate_core::{Error, Result};

use super::ProxmoxSubstrate;
use super::locate::guest_path;
use crate::client::Form;
use crate::convert::guest::{GuestKind, Place};
use crate::convert::text::{Fields, text};
use crate::error;

/// How many guests are asked at once.
const READS: usize = 16;

/// A setting as it is, and as it will be after the guest's next start.
#[derive(Debug, Deserialize)]
struct Setting {
    key: String,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    pending: Value,
}

/// A guest's settings: now, and after its next start.
pub(super) struct Settings {
    pub(super) place: Place,
    pub(super) now: Fields,
    pub(super) next: Fields,
}

impl Settings {
    fn new(place: Place, settings: Vec<Setting>) -> Self {
        let (mut now, mut next) = (Fields::new(), Fields::new());
        for Setting { key, value, pending } in settings {
            for (fields, value) in [(&mut now, value), (&mut next, pending)] {
                if !value.is_null() {
                    fields.insert(key.clone(), value);
                }
            }
        }
        Self { place, now, next }
    }

    pub(super) fn both(&self) -> [&Fields; 2] {
        [&self.now, &self.next]
    }

    fn who(&self) -> String {
        let key = self.place.kind.name_key();
        let name = text(&self.now, key).unwrap_or_else(|| self.place.kind.nameless(self.place.vmid));
        format!("`{name}` ({})", self.place.vmid)
    }
}

impl ProxmoxSubstrate {
    /// A guest on these nodes of which this is true, as a person would name it. Guests of every kind are asked: one
    /// request each.
    pub(super) async fn user_of(
        &self,
        nodes: &[String],
        uses: impl Fn(&Settings) -> bool,
    ) -> Result<Option<String>> {
        let view = self.nodes_view().await?;
        let (listed, silent) = &*view;
        if let Some(node) = nodes.iter().find(|node| silent.contains(node)) {
            return Err(Error::unavailable(format!(
                "whether a guest uses it cannot be told: {node} does not answer"
            ))
            .with_outcome(substrate_core::Outcome::Rejected));
        }
        let places = listed.iter().map(|one| one.place.clone()).filter(|place| nodes.contains(&place.node));
        let mut asked =
            stream::iter(places).map(|place| self.settings_of(place)).buffer_unordered(READS).boxed();
        while let Some(settings) = asked.try_next().await? {
            if let Some(settings) = settings.filter(&uses) {
                return Ok(Some(settings.who()));
            }
        }
        Ok(None)
    }

    async fn settings_of(&self, place: Place) -> Result<Option<Settings>> {
        let target = guest_path(&place, &["pending"]);
        match self.client.get("look at a guest", &target, Form::new()).await {
            Ok(settings) => Ok(Some(Settings::new(place, settings))),
            // Gone or moved meanwhile.
            Err(error) if error::is_not_here(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The key of a guest's address on the device with this number.
pub(super) fn address_key(kind: GuestKind, device: &str) -> String {
    match kind {
        GuestKind::Lxc => device.to_owned(),
        GuestKind::Qemu => device.replace("net", "ipconfig"),
    }
}
