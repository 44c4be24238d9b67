//! Who a substrate is.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;

use crate::capability::{Ability, Capabilities};
use crate::error::{Error, Result};
use crate::instance::InstanceKind;
use crate::operation::Operation;

/// A substrate's identity and abilities: immutable for one connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Descriptor {
    /// The technology: `docker`, `proxmox`, `fake`.
    pub provider_type: Arc<str>,
    /// This substrate's name in the configuration: `docker-paris`.
    pub name: Arc<str>,
    /// The kinds of instances that it runs; the first is what it makes when none is asked for.
    pub kinds: Vec<InstanceKind>,
    /// What it can do. Before the first connect: what the technology can do at best.
    pub capabilities: Capabilities,
}

impl Descriptor {
    /// A descriptor.
    #[must_use]
    pub fn new(
        provider_type: impl Into<Arc<str>>,
        name: impl Into<Arc<str>>,
        kinds: impl Into<Vec<InstanceKind>>,
        capabilities: Capabilities,
    ) -> Self {
        Self { provider_type: provider_type.into(), name: name.into(), kinds: kinds.into(), capabilities }
    }

    /// Nothing when the substrate can; the error names the substrate.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the reason when it cannot.
    pub fn require(&self, ability: impl Into<Ability>) -> Result<()> {
        self.capabilities.require(ability).map_err(|error| error.with_substrate(self.name.clone()))
    }

    /// The error of a method that is not there: what the default bodies of
    /// [`Substrate`](crate::Substrate) return.
    #[must_use]
    pub fn unsupported(&self, operation: Operation) -> Error {
        match self.capabilities.require(operation) {
            Err(error) => error,
            Ok(()) => Error::unsupported("declared as a capability, but the provider does not implement it")
                .with_operation(operation),
        }
        .with_substrate(self.name.clone())
    }

    /// What puts an error into the context of a call: the operation and the substrate's name.
    pub fn context(self: &Arc<Self>, operation: Operation) -> impl Fn(Error) -> Error + use<> {
        let descriptor = self.clone();
        move |error| error.with_operation(operation).with_substrate(descriptor.name.clone())
    }

    /// Like [`context`](Self::context), of a call about one thing.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use substrate_core::{Capabilities, Descriptor, Error, InstanceKind, Operation};
    /// # let kinds = [InstanceKind::Container];
    /// let lab = Arc::new(Descriptor::new("docker", "lab", kinds, Capabilities::required_only()));
    /// let answer: Result<(), Error> = Err(Error::unavailable("connection refused"));
    /// let error = answer.map_err(lab.about(Operation::StartInstance, "web")).unwrap_err();
    /// assert_eq!((error.operation(), error.substrate()), (Some(Operation::StartInstance), Some("lab")));
    /// ```
    pub fn about<S: AsRef<str>>(
        self: &Arc<Self>,
        operation: Operation,
        subject: S,
    ) -> impl Fn(Error) -> Error + use<S> {
        let context = self.context(operation);
        move |error| context(error).with_instance(&subject)
    }
}

/// Where a provider keeps its [`Descriptor`]: replaced at connect, read at every call.
pub struct DescriptorCell(RwLock<Arc<Descriptor>>);

impl DescriptorCell {
    /// A cell that holds `descriptor`.
    #[must_use]
    pub fn new(descriptor: Descriptor) -> Self {
        Self(RwLock::new(Arc::new(descriptor)))
    }

    /// The current descriptor.
    #[must_use]
    pub fn get(&self) -> Arc<Descriptor> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces it, after a connect found out more.
    pub fn set(&self, descriptor: Descriptor) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(descriptor);
    }

    /// As [`Descriptor::context`].
    pub fn context(&self, operation: Operation) -> impl Fn(Error) -> Error + use<> {
        self.get().context(operation)
    }

    /// As [`Descriptor::about`].
    pub fn about<S: AsRef<str>>(&self, operation: Operation, subject: S) -> impl Fn(Error) -> Error + use<S> {
        self.get().about(operation, subject)
    }
}

impl fmt::Debug for DescriptorCell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(formatter)
    }
}
