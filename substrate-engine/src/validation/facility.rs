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
    configured: Option<Configured>,
}

/// The configuration that facilities were opened from, where they were: what messages suggest, and what makes a choice
/// necessary though only one is open.
#[derive(Debug, Clone, Default)]
pub(crate) struct Configured {
    /// Names and types of what is configured and closed, since no document names it.
    pub(crate) closed: Vec<(String, String)>,
    /// Types that could be opened with their defaults.
    pub(crate) types: Vec<String>,
    /// The only substrate that is configured. Others may be open because a journal names them.
    pub(crate) only: Option<String>,
}

impl FromIterator<Descriptor> for Facilities {
    fn from_iter<I: IntoIterator<Item = Descriptor>>(descriptors: I) -> Self {
        Self { descriptors: descriptors.into_iter().collect(), ..Self::default() }
    }
}

impl Facilities {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Descriptor> {
        self.descriptors.iter()
    }

    /// The same, as a part of a configuration.
    #[must_use]
    pub(crate) fn within(mut self, configured: Option<Configured>) -> Self {
        self.configured = configured;
        self
    }

    fn closed(&self) -> impl Iterator<Item = (&str, &str)> {
        let closed = self.configured.iter().flat_map(|configured| &configured.closed);
        closed.map(|(name, kind)| (name.as_str(), kind.as_str()))
    }

    fn types(&self) -> impl Iterator<Item = &str> {
        self.configured.iter().flat_map(|configured| &configured.types).map(String::as_str)
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
        let closed = self.closed().filter(|(_, kind)| *kind == name_or_type);
        let closed: Vec<&str> = closed.map(|(name, _)| name).collect();
        match (of_type.as_slice(), closed.as_slice()) {
            ([only], []) => Ok(only),
            ([], []) => {
                let message = format!("there is no provider {}", quoted(name_or_type));
                let open = self.descriptors.iter().flat_map(|one| [&*one.name, &*one.provider_type]);
                let closed = self.closed().flat_map(|(name, kind)| [name, kind]);
                let words = open.chain(closed).chain(self.types());
                Err(match nearest(name_or_type, words) {
                    Some(known) => format!("{message}: did you mean {}?", quoted(known)),
                    None => format!("{message}: {}", self.choice()),
                })
            }
            (open, closed) => Err(format!(
                "several providers have the type {}: choose one of {}",
                quoted(name_or_type),
                listed(open.iter().map(|one| &*one.name).chain(closed.iter().copied()))
            )),
        }
    }

    /// The facility of a resource that names none.
    ///
    /// # Errors
    /// One line: there is none, or there are several to choose from.
    pub fn only(&self) -> Result<&Descriptor, String> {
        let only = match (&self.configured, self.descriptors.as_slice()) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(configured), all) => all.iter().find(|one| Some(&*one.name) == configured.only.as_deref()),
        };
        only.ok_or_else(|| format!("`provider` is missing: {}", self.choice()))
    }

    fn choice(&self) -> String {
        let closed = self.closed().map(|(name, _)| name);
        let names: Vec<&str> = self.descriptors.iter().map(|one| &*one.name).chain(closed).collect();
        let types: Vec<&str> = self.types().collect();
        match (names.is_empty(), types.is_empty()) {
            (true, true) => "no substrate is configured".to_owned(),
            (true, false) => {
                format!("no substrate is configured; a type can be named too: {}", listed(types.into_iter()))
            }
            (false, _) => format!("choose one of {}", listed(names.into_iter())),
        }
    }
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(quoted).collect::<Vec<_>>().join(", ")
}
