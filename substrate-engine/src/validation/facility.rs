//! Where resources may live.

use substrate_core::Descriptor;
use substrate_core::config::{nearest, quoted};

/// The substrates of one engine run, by name and type.
///
/// ```
/// use substrate_core::{Capabilities, Descriptor, InstanceKind};
/// use substrate_engine::Facilities;
/// let docker = Descriptor::new("docker", "docker-paris", [InstanceKind::Container], Capabilities::all());
/// let facilities = Facilities::from_iter([docker]);
/// assert_eq!(&*facilities.find("docker-paris")?.name, "docker-paris");
/// assert_eq!(&*facilities.find("docker")?.name, "docker-paris");
/// assert_eq!(facilities.find("dokcer").err().as_deref(), Some("there is no provider `dokcer`: did you mean `docker`?"));
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Facilities {
    descriptors: Vec<Descriptor>,
}

impl FromIterator<Descriptor> for Facilities {
    fn from_iter<I: IntoIterator<Item = Descriptor>>(descriptors: I) -> Self {
        Self { descriptors: descriptors.into_iter().collect() }
    }
}

impl Facilities {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Descriptor> {
        self.descriptors.iter()
    }

    /// A facility by its name, or else the only one of a type.
    ///
    /// # Errors
    /// One line: there is none (with the nearest name), or several have the type.
    pub fn find(&self, name_or_type: &str) -> Result<&Descriptor, String> {
        if let Some(found) = self.descriptors.iter().find(|one| &*one.name == name_or_type) {
            return Ok(found);
        }
        let of_type: Vec<&Descriptor> =
            self.descriptors.iter().filter(|one| &*one.provider_type == name_or_type).collect();
        match of_type.as_slice() {
            [only] => Ok(only),
            [] => {
                let message = format!("there is no provider {}", quoted(name_or_type));
                let words = self.descriptors.iter().flat_map(|one| [&*one.name, &*one.provider_type]);
                Err(match nearest(name_or_type, words) {
                    Some(known) => format!("{message}: did you mean {}?", quoted(known)),
                    None => format!("{message}: {}", self.listed(self.descriptors.iter())),
                })
            }
            several => Err(format!(
                "several providers have the type {}: {}",
                quoted(name_or_type),
                self.listed(several.iter().copied())
            )),
        }
    }

    /// The facility of a resource that names none.
    ///
    /// # Errors
    /// One line: there is none, or there are several to choose from.
    pub fn only(&self) -> Result<&Descriptor, String> {
        match self.descriptors.as_slice() {
            [only] => Ok(only),
            _ => Err(format!("`provider` is missing: {}", self.listed(self.descriptors.iter()))),
        }
    }

    fn listed<'a>(&self, descriptors: impl Iterator<Item = &'a Descriptor>) -> String {
        let names: Vec<String> = descriptors.map(|one| quoted(&one.name)).collect();
        match names.is_empty() {
            true => "no substrate is configured".to_owned(),
            false => format!("choose one of {}", names.join(", ")),
        }
    }
}
