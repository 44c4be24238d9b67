//! Who depends on whom: what was declared, what references use, and what specs mention.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use substrate_core::config::{Location, Problem, nearest, quoted};

use super::interpret::Declaration;
use crate::graph::DependencyGraph;
use crate::model::{Address, Dependency, Name, Selection};

/// Suggestions cost a comparison with every name; nobody reads more of them than this.
const MOST_SUGGESTIONS: usize = 100;

/// A dependency of a declaration on another.
pub(super) struct Link {
    pub(super) target: usize,
    /// With the blueprint in it.
    pub(super) address: Address,
    location: Option<Location>,
}

/// What a declaration comes after.
pub(super) struct Links {
    /// When it is applied, without repetitions.
    pub(super) apply: Vec<Link>,
    /// When it is deleted, where it says so itself.
    pub(super) delete: Option<Vec<Link>>,
}

/// The links of every declaration, by its number.
pub(super) fn link(declarations: &[Declaration], problems: &mut Vec<Problem>) -> Vec<Links> {
    let mut linking = Linking::new(declarations, problems);
    let links: Vec<Links> = declarations
        .iter()
        .map(|declaration| Links {
            apply: linking.links_of(declaration),
            delete: linking.delete_links_of(declaration),
        })
        .collect();
    let apply = links.iter().enumerate().flat_map(|(from, links)| {
        links.apply.iter().map(move |link| (from, link.target, link.location.as_ref()))
    });
    // Where the one order is a circle, so is the other that goes backwards; once is enough.
    if report_cycles(declarations, apply, "dependencies", problems)
        && links.iter().any(|links| links.delete.is_some())
    {
        let own = links.iter().enumerate().flat_map(|(from, links)| {
            links.delete.iter().flatten().map(move |link| (from, link.target, link.location.as_ref()))
        });
        let reversed =
            links.iter().enumerate().filter(|(_, links)| links.delete.is_none()).flat_map(|(from, links)| {
                links.apply.iter().map(move |link| (link.target, from, link.location.as_ref()))
            });
        report_cycles(declarations, own.chain(reversed), "`delete` dependencies", problems);
    }
    links
}

struct Linking<'a> {
    declarations: &'a [Declaration],
    by_name: HashMap<(&'a Name, &'a Name), usize>,
    suggestions_left: usize,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Linking<'a> {
    fn new(declarations: &'a [Declaration], problems: &'a mut Vec<Problem>) -> Self {
        let names = declarations.iter().map(|one| (&one.blueprint, &one.resource.name.value));
        let mut by_name = HashMap::with_capacity(declarations.len());
        for (number, name) in names.enumerate() {
            match by_name.entry(name) {
                Entry::Vacant(free) => {
                    free.insert(number);
                }
                Entry::Occupied(taken) => {
                    problems.extend(
                        declarations.get(*taken.get()).zip(declarations.get(number)).map(defined_twice),
                    );
                }
            }
        }
        Self { declarations, by_name, suggestions_left: MOST_SUGGESTIONS, problems }
    }

    fn links_of(&mut self, declaration: &Declaration) -> Vec<Link> {
        let mut links = Vec::new();
        for dependency in &declaration.resource.dependencies {
            links.extend(self.resolve(declaration, dependency));
        }
        for reference in &declaration.resource.references {
            let dependency =
                Dependency { address: reference.address.clone(), location: reference.location.clone() };
            let Some(link) = self.resolve(declaration, &dependency) else { continue };
            let target = self.declarations.get(link.target);
            let several = target.and_then(|target| target.count);
            if let (Selection::Whole, Some(count)) = (reference.address.selection, several) {
                let (name, output) = (&reference.address, &reference.output);
                let message = format!(
                    "there are {count} of {}: say which one (`${{{name}[0].{output}}}`), or all (`${{{name}[*].{output}}}`)",
                    quoted(&name.to_string())
                );
                self.report(declaration, message, reference.location.as_ref());
            }
            links.push(link);
        }
        for mention in declaration.mentions() {
            let known = Name::new(&mention.name)
                .ok()
                .filter(|name| self.by_name.contains_key(&(&declaration.blueprint, name)));
            match known {
                // A network of its own name would depend on itself; it is one that is on the substrate already.
                Some(name) if name == declaration.resource.name.value && !mention.must_exist => {}
                Some(name) => {
                    let address = Address { blueprint: None, name, selection: Selection::Whole };
                    let dependency = Dependency { address, location: mention.location.clone() };
                    links.extend(self.resolve(declaration, &dependency));
                }
                None if mention.must_exist => {
                    let message = format!("there is no resource {}", quoted(&mention.name));
                    self.report_unknown(declaration, &mention.name, message, mention.location.as_ref());
                }
                None => {}
            }
        }
        links.sort_by(|left, right| left.address.cmp(&right.address));
        links.dedup_by(|left, right| left.address == right.address);
        links
    }

    fn delete_links_of(&mut self, declaration: &Declaration) -> Option<Vec<Link>> {
        let dependencies = declaration.resource.rules.delete_dependencies.as_ref()?;
        Some(dependencies.iter().filter_map(|dependency| self.resolve(declaration, dependency)).collect())
    }

    fn resolve(&mut self, from: &Declaration, dependency: &Dependency) -> Option<Link> {
        let Dependency { address, location } = dependency;
        let blueprint = address.blueprint.as_ref().unwrap_or(&from.blueprint);
        let Some(target) = self.by_name.get(&(blueprint, &address.name)).copied() else {
            let shown = address.to_string();
            self.report_unknown(
                from,
                &shown,
                format!("there is no resource {}", quoted(&shown)),
                location.as_ref(),
            );
            return None;
        };
        if let Selection::Index(index) = address.selection {
            let count = self.declarations.get(target).and_then(|target| target.count);
            if count.is_none_or(|count| index >= count) {
                let shown = quoted(address.name.as_str());
                let message = match count {
                    None => format!("{shown} is one resource without a `count`: leave `[{index}]` out"),
                    Some(count) => format!(
                        "there are only {count} of {shown}: the last is `[{}]`",
                        count.saturating_sub(1)
                    ),
                };
                self.report(from, message, location.as_ref());
                return None;
            }
        }
        let address = Address { blueprint: Some(blueprint.clone()), ..address.clone() };
        Some(Link { target, address, location: location.clone() })
    }

    fn report_unknown(
        &mut self,
        from: &Declaration,
        wanted: &str,
        message: String,
        location: Option<&Location>,
    ) {
        let mut problem = Problem::new(path_of(from), message).at(location.cloned());
        if let Some(left) = self.suggestions_left.checked_sub(1) {
            self.suggestions_left = left;
            let own = self.by_name.keys().filter(|(blueprint, _)| **blueprint == from.blueprint);
            let mut names: Vec<&str> = own.map(|(_, name)| name.as_str()).collect();
            // Of two that are as near, always the same one.
            names.sort_unstable();
            problem = problem.suggest(nearest(wanted, names));
        }
        self.problems.push(problem);
    }

    fn report(&mut self, from: &Declaration, message: String, location: Option<&Location>) {
        let location = location.or(from.resource.name.location.as_ref());
        self.problems.push(Problem::new(path_of(from), message).at(location.cloned()));
    }
}

fn defined_twice((first, second): (&Declaration, &Declaration)) -> Problem {
    let first =
        first.resource.name.location.as_ref().map(|at| format!(", first at {at}")).unwrap_or_default();
    let name = &second.resource.name;
    let message = format!("the resource {} is defined twice{first}", quoted(name.value.as_str()));
    Problem::new(path_of(second), message).at(name.location.clone())
}

fn path_of(declaration: &Declaration) -> String {
    format!("{}/{}", declaration.blueprint, declaration.resource.name.value)
}

/// Cycles are looked for among declarations: all instances of one share its dependencies, so theirs are the same.
fn report_cycles<'a>(
    declarations: &[Declaration],
    links: impl Iterator<Item = (usize, usize, Option<&'a Location>)>,
    what: &str,
    problems: &mut Vec<Problem>,
) -> bool {
    let mut graph = DependencyGraph::with_nodes(declarations.len());
    let links: Vec<_> = links.collect();
    for (from, target, _) in &links {
        graph.add_dependency(*from, *target);
    }
    let Err(cycles) = graph.order() else { return true };
    for cycle in cycles {
        let members: Vec<&Declaration> =
            cycle.nodes.iter().filter_map(|node| declarations.get(*node)).collect();
        let (Some(first), Some(number)) = (members.first(), cycle.nodes.first()) else { continue };
        let one_blueprint = members.iter().all(|one| one.blueprint == first.blueprint);
        let label = |one: &Declaration| match one_blueprint {
            true => one.resource.name.value.to_string(),
            false => path_of(one),
        };
        const MOST_SHOWN: usize = 50;
        let mut path: Vec<String> = members.iter().take(MOST_SHOWN).map(|one| label(one)).collect();
        if members.len() > MOST_SHOWN {
            path.push(format!("… {} more …", members.len() - MOST_SHOWN));
        }
        path.push(label(first));
        let second = cycle.nodes.get(1).unwrap_or(number);
        let location = links
            .iter()
            .find(|(from, target, _)| from == number && target == second)
            .and_then(|(.., location)| location.cloned())
            .or_else(|| first.resource.name.location.clone());
        let message = format!("the {what} go in a circle: {}", path.join(" → "));
        problems.push(Problem::new(path_of(first), message).at(location));
    }
    false
}
