//! How documents name resources of each other.

use std::fmt;
use std::str::FromStr;

use substrate_core::config::{Location, quoted};

use super::name::Name;

/// Which of the instances that a resource's `count` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selection {
    /// All that there are: the only one of a resource without a count. `web`
    Whole,
    /// One of several. `web[0]`
    Index(u32),
    /// All of them, said aloud: needed where several values are meant. `web[*]`
    All,
}

/// A resource, as a document names it: `web`, `web[0]`, `web[*]`, `shop/web`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The blueprint; the one that the address stands in when left out.
    pub blueprint: Option<Name>,
    /// The resource.
    pub name: Name,
    /// Which of its instances.
    pub selection: Selection,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(blueprint) = &self.blueprint {
            write!(f, "{blueprint}/")?;
        }
        self.name.fmt(f)?;
        match self.selection {
            Selection::Whole => Ok(()),
            Selection::Index(index) => write!(f, "[{index}]"),
            Selection::All => f.write_str("[*]"),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (blueprint, rest) = match text.split_once('/') {
            Some((blueprint, rest)) => (Some(Name::new(blueprint)?), rest),
            None => (None, text),
        };
        let (name, selection) = match rest.strip_suffix(']').map(|rest| rest.split_once('[')) {
            None => (rest, Selection::Whole),
            Some(Some((name, "*"))) => (name, Selection::All),
            Some(split) => {
                let wrong =
                    || format!("{} does not say which one: write `name[0]` or `name[*]`", quoted(text));
                let (name, index) = split.ok_or_else(wrong)?;
                (name, Selection::Index(index.parse().map_err(|_| wrong())?))
            }
        };
        Ok(Self { blueprint, name: Name::new(name)?, selection })
    }
}

/// A resource that must be there before this one, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// On what.
    pub address: Address,
    /// Where it was written.
    pub location: Option<Location>,
}

/// The use of another resource's output: `${web.address}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Whose.
    pub address: Address,
    /// Which output: a dotted path such as `address` or `networks.front.ip`.
    pub output: String,
    /// Where it was written.
    pub location: Option<Location>,
}

impl Reference {
    /// Reads what stands in `${…}`.
    ///
    /// # Errors
    /// One line that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{} is not a reference: write `${{resource.output}}`, `${{var.name}}` or `${{count.index}}`",
                quoted(text)
            )
        };
        // A name holds no dot, so the first one ends it.
        let (address, output) = text.split_once('.').ok_or_else(wrong)?;
        let output_is_a_path = output.split('.').all(|word| {
            !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        });
        if !output_is_a_path {
            return Err(wrong());
        }
        Ok(Self { address: address.parse()?, output: output.to_owned(), location: None })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.address, self.output)
    }
}

serialized_as_text!(Address);

#[cfg(test)]
mod tests {
    use super::{Address, Reference, Selection};

    #[test]
    fn addresses_read_back_from_their_text() {
        for text in ["web", "web[0]", "web[*]", "shop/web", "shop/web[7]"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "web[", "web[x]", "web[]", "a/b/c", "web.1"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_reference_is_an_address_and_a_path() {
        let reference = Reference::parse("web[1].networks.front.ip").unwrap();
        assert_eq!(reference.address.selection, Selection::Index(1));
        assert_eq!(reference.output, "networks.front.ip");
        for text in ["web", "web.", ".x", "web..x", "web.a b", "web.${x}"] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }
}
