//! The operations that one route may use.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;

use super::operation::{Operation, RequestPattern};

/// A set of operations of one provider, by name, each with the allowed requests. Clones share the
/// names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OperationSet(Arc<BTreeMap<String, Extent>>);

/// The requests of an operation that are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extent {
    /// The requests that only read: GET and HEAD. Written `NAME:read`.
    Reading,
    /// Every request of the operation.
    All,
}

/// The end of the name of an operation that allows reading alone.
pub const READING: &str = ":read";

impl OperationSet {
    /// Adds an operation. Of two extents, the larger counts.
    pub fn add(&mut self, operation: &Operation, extent: Extent) {
        let names = Arc::make_mut(&mut self.0);
        let own = names.entry(operation.name.clone()).or_insert(extent);
        *own = extent.max(*own);
    }

    /// True for an operation in the set, if only for reading.
    #[must_use]
    pub fn allows(&self, operation: &Operation) -> bool {
        self.0.contains_key(&operation.name)
    }

    /// True for a request with this method of an operation in the set.
    #[must_use]
    pub fn allows_method(&self, operation: &Operation, method: &Method) -> bool {
        match self.0.get(&operation.name) {
            Some(Extent::All) => true,
            Some(Extent::Reading) => RequestPattern::is_reading(method),
            None => false,
        }
    }

    /// The name of an operation in the set, as a route writes it.
    #[must_use]
    pub fn written(&self, operation: &Operation) -> Option<String> {
        self.0.get(&operation.name).map(|extent| match extent {
            Extent::All => operation.name.clone(),
            Extent::Reading => format!("{}{READING}", operation.name),
        })
    }

    /// True for a set without any operation.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'o> FromIterator<&'o Operation> for OperationSet {
    fn from_iter<I: IntoIterator<Item = &'o Operation>>(operations: I) -> Self {
        let mut set = Self::default();
        for operation in operations {
            set.add(operation, Extent::All);
        }
        set
    }
}
