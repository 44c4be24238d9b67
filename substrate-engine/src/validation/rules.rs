//! What the engine knows: the kinds of resources, and the directives.

use crate::directive::DirectiveRegistry;
use crate::handler::HandlerRegistry;

/// The handlers and directives that documents may use.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// What the kinds of resources and manifests mean.
    pub handlers: HandlerRegistry,
    /// What the directives mean.
    pub directives: DirectiveRegistry,
}

impl Rules {
    /// Everything that is built in.
    #[must_use]
    pub fn standard() -> Self {
        Self { handlers: HandlerRegistry::standard(), directives: DirectiveRegistry::standard() }
    }
}
