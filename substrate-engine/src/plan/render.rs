//! Plans for people and programs.

use std::fmt::{self, Write};

use serde_json::{Value, json};

use super::step::{Plan, Prerequisite, Step, StepAction};

impl fmt::Display for Plan {
    /// The plan as text: a summary, then every step with its causes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "Nothing to do: {} unchanged.", self.kept.len());
        }
        writeln!(f, "{}.", self.summary())?;
        for step in &self.steps {
            let place = step.facility.as_ref().map(|facility| format!(" on {facility}")).unwrap_or_default();
            writeln!(f, "{} {}  {}{place}", sign(step.action), step.resource, step.kind)?;
            for cause in &step.causes {
                writeln!(f, "      {cause}")?;
            }
        }
        Ok(())
    }
}

fn sign(action: StepAction) -> &'static str {
    match action {
        StepAction::Create => "  +",
        StepAction::Update => "  ~",
        StepAction::Replace => "-/+",
        StepAction::ReplaceCreateFirst => "+/-",
        StepAction::Delete => "  -",
        StepAction::Keep => "   ",
    }
}

impl Plan {
    /// The plan as a JSON document. `steps` is empty when there is nothing to do; the numbers in `after` are positions
    /// in `steps` and `gates`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "format": 1, "summary": self.summary(), "steps": self.steps, "gates": self.gates, "kept": self.kept })
    }

    /// The plan as a graph in the DOT language of Graphviz. Arrows lead to what comes next.
    #[must_use]
    pub fn to_dot(&self) -> String {
        let mut text = "digraph plan {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
        for (number, step) in self.steps.iter().enumerate() {
            let label = dot_escaped(&title(step));
            let _ = writeln!(text, "  s{number} [label=\"{label}\" color=\"{}\"];", colour(step.action));
        }
        for (number, gate) in self.gates.iter().enumerate() {
            let _ = writeln!(
                text,
                "  g{number} [label=\"{}\" shape=ellipse style=dashed];",
                dot_escaped(&gate.label)
            );
        }
        self.for_each_arrow(|from, to| {
            let _ = writeln!(text, "  {from} -> {to};");
        });
        text.push_str("}\n");
        text
    }

    /// The plan as a Mermaid flowchart. Arrows lead to what comes next.
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        let mut text = "flowchart LR\n".to_owned();
        for (number, step) in self.steps.iter().enumerate() {
            let _ = writeln!(text, "  s{number}[\"{}\"]", mermaid_escaped(&title(step)));
        }
        for (number, gate) in self.gates.iter().enumerate() {
            let _ = writeln!(text, "  g{number}([\"{}\"])", mermaid_escaped(&gate.label));
        }
        self.for_each_arrow(|from, to| {
            let _ = writeln!(text, "  {from} --> {to}");
        });
        text
    }

    fn for_each_arrow(&self, mut draw: impl FnMut(&str, &str)) {
        let steps = self.steps.iter().enumerate().map(|(number, step)| (format!("s{number}"), &step.after));
        let gates = self.gates.iter().enumerate().map(|(number, gate)| (format!("g{number}"), &gate.after));
        for (to, after) in steps.chain(gates) {
            for prerequisite in after {
                match prerequisite {
                    Prerequisite::Step(number) => draw(&format!("s{number}"), &to),
                    Prerequisite::Gate(number) => draw(&format!("g{number}"), &to),
                }
            }
        }
    }
}

fn title(step: &Step) -> String {
    format!("{} {}", step.action, step.resource)
}

fn colour(action: StepAction) -> &'static str {
    match action {
        StepAction::Create => "darkgreen",
        StepAction::Update => "goldenrod",
        StepAction::Replace | StepAction::ReplaceCreateFirst => "darkorange",
        StepAction::Delete => "firebrick",
        StepAction::Keep => "gray",
    }
}

// Names hold no quotes today; the text of a graph must not depend on that.
fn dot_escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn mermaid_escaped(text: &str) -> String {
    text.replace('#', "#35;").replace('"', "#quot;")
}
