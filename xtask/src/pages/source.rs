//! What a crate's source says: its front page, and the keys of its settings.

use anyhow::{Context, Result};
use syn::{Attribute, Expr, Fields, Item, Lit, Meta, Visibility};

/// The settings of one type.
#[derive(Debug, PartialEq, Eq)]
pub struct Settings {
    pub name: String,
    pub what: String,
    /// Each key as a document spells it, with what it means.
    pub keys: Vec<(String, String)>,
}

/// The front page without its title, as a reader without links and hidden lines sees it.
pub fn prose_of(text: &str) -> Result<String> {
    let file = syn::parse_file(text).context("it is no Rust")?;
    let mut prose = String::new();
    let mut code = false;
    for line in documentation(&file.attrs).lines() {
        if line.starts_with("```") {
            // What rustdoc reads there is nothing to a reader; the language is.
            prose.push_str(if code { "```\n" } else { "```rust\n" });
            code = !code;
        } else if code {
            if !(line == "#" || line.starts_with("# ")) {
                prose.push_str(line);
                prose.push('\n');
            }
        } else {
            // The page's title is above.
            let line = if line.starts_with('#') { format!("#{line}") } else { without_links(line) };
            prose.push_str(&line);
            prose.push('\n');
        }
    }
    Ok(prose)
}

/// The public types with documented public fields, in their order.
pub fn settings_of(text: &str) -> Result<Vec<Settings>> {
    let file = syn::parse_file(text).context("it is no Rust")?;
    let mut found = Vec::new();
    for item in file.items {
        let Item::Struct(item) = item else { continue };
        let Fields::Named(fields) = &item.fields else { continue };
        if !matches!(item.vis, Visibility::Public(_)) {
            continue;
        }
        let keys: Vec<(String, String)> = fields
            .named
            .iter()
            .filter(|field| matches!(field.vis, Visibility::Public(_)))
            .filter_map(|field| Some((field.ident.as_ref()?.to_string(), plain(&field.attrs))))
            .collect();
        if !keys.is_empty() {
            let what = plain(&item.attrs);
            found.push(Settings { name: item.ident.to_string(), what, keys });
        }
    }
    Ok(found)
}

/// The first paragraph in one line, without links.
fn plain(attributes: &[Attribute]) -> String {
    let text = documentation(attributes);
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    without_links(&paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn documentation(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| {
        let Meta::NameValue(pair) = &attribute.meta else { return None };
        let Expr::Lit(literal) = &pair.value else { return None };
        match &literal.lit {
            Lit::Str(text) if pair.path.is_ident("doc") => {
                let text = text.value();
                Some(text.strip_prefix(' ').map(str::to_owned).unwrap_or(text))
            }
            _ => None,
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// `` [`A`](b) `` and `` [`A`] `` are links only where rustdoc resolves them.
fn without_links(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, inside)) = rest.split_once("[`") {
        text.push_str(before);
        let Some((word, behind)) = inside.split_once("`]") else {
            text.push_str("[`");
            rest = inside;
            continue;
        };
        text.push_str(&format!("`{word}`"));
        let link = behind.strip_prefix('(').and_then(|link| link.split_once(')'));
        rest = link.map_or(behind, |(_, rest)| rest);
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_page_is_read_without_hidden_lines_and_links() {
        let text = "//! A [`Thing`](crate::Thing).\n//!\n//! ```no_run\n//! # fn hidden() {}\n//! let a = 1;\n//! ```\n//!\n//! # Special\n//!\n//! See [`Other`], not [0].\n";
        assert_eq!(
            prose_of(text).unwrap(),
            "A `Thing`.\n\n```rust\nlet a = 1;\n```\n\n## Special\n\nSee `Other`, not [0].\n"
        );
    }

    #[test]
    fn settings_are_the_public_fields_of_public_types() {
        let text = "/// How.\n///\n/// More.\npub struct Config {\n    /// The\n    /// host.\n    pub host: String,\n    hidden: u8,\n}\nstruct Inner { pub a: u8 }\npub struct Empty;\n";
        let expected = Settings {
            name: "Config".into(),
            what: "How.".into(),
            keys: vec![("host".into(), "The host.".into())],
        };
        assert_eq!(settings_of(text).unwrap(), [expected]);
    }
}
