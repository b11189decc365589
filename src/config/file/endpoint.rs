//! The keys that `[[route]]` and `[[webhook]]` have in common: `credential`, `name` and `path`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::check_name_value;
use super::credential::{Credentials, Placed};
use crate::document::{Field, Malformed, Position, Reader, choices};

/// The names and paths of the earlier tables of `[[route]]` or `[[webhook]]`, each with its place.
/// With an index, a configuration of ten thousand tenants is read in linear time.
pub(super) struct Earlier<P> {
    names: HashMap<String, Position>,
    paths: HashMap<String, P>,
}

impl<P> Default for Earlier<P> {
    fn default() -> Self {
        Self {
            names: HashMap::new(),
            paths: HashMap::new(),
        }
    }
}

impl<P> Earlier<P> {
    /// Returns the place of the first table with a name. The name counts as taken from now on.
    pub(super) fn take_name(&mut self, name: &str, at: &Position) -> Option<Position> {
        match self.names.entry(name.to_owned()) {
            Entry::Occupied(taken) => Some(taken.get().clone()),
            Entry::Vacant(free) => {
                free.insert(at.clone());
                None
            }
        }
    }

    /// Returns what is known of the tables with a path, or the place for it.
    pub(super) fn at_path(&mut self, path: String) -> Entry<'_, String, P> {
        self.paths.entry(path)
    }
}

/// The keys that `[[route]]` and `[[webhook]]` have in common.
pub(super) struct Endpoint<'d> {
    credential: Option<Field<'d>>,
    name: Option<Field<'d>>,
    path: Option<Field<'d>>,
}

impl<'d> Endpoint<'d> {
    /// Reads the keys. `path` was read before, because only a webhook requires it.
    pub(super) fn read(reader: &mut Reader<'d>, path: Option<Field<'d>>) -> Self {
        Self {
            credential: reader.required("credential", "the NAME of a [credential.NAME]"),
            name: reader.field("name").filter(check_name_value),
            path,
        }
    }

    /// Returns the path, as `parse` understands it.
    pub(super) fn path<T>(&self, parse: fn(&str) -> Result<T, Malformed>) -> Option<T> {
        self.path.as_ref()?.parse(parse)
    }

    /// Returns the credential. `None` for an unknown credential, or for a credential that is too
    /// faulty to use.
    pub(super) fn credential<'c>(
        &self,
        credentials: &'c Credentials,
    ) -> Option<(String, &'c Placed)> {
        let field = self.credential.as_ref()?;
        let name = field.string()?;
        let Some(placed) = credentials.get(name) else {
            let words = credentials.keys().map(String::as_str);
            field.fault(format!("no such credential, {}", choices(name, words)));
            return None;
        };
        Some((name.to_owned(), placed.as_ref()?))
    }

    /// Returns the name, which is the credential's name by default.
    pub(super) fn name_or(&self, credential: &str) -> String {
        let written = self.name.as_ref().and_then(Field::string);
        written.unwrap_or(credential).to_owned()
    }

    /// Reports the name of an earlier table of this `kind` at the name, or at the table if the name
    /// is the default.
    pub(super) fn fault_same_name(&self, reader: &Reader<'_>, kind: &str, at: &Position) {
        let message = format!("the same name as the {kind} at {at}, expected another `name`");
        fault_at(self.name.as_ref(), reader, message);
    }

    /// Reports a fault at the path, or at the table if the path is the default.
    pub(super) fn fault_at_path(&self, reader: &Reader<'_>, message: String) {
        fault_at(self.path.as_ref(), reader, message);
    }
}

fn fault_at(field: Option<&Field<'_>>, reader: &Reader<'_>, message: String) {
    match field {
        Some(field) => field.fault(message),
        None => reader.fault(message),
    }
}
