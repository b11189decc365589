//! Objects that an application has made: templates of other providers than Meta, and flows and QR
//! codes of Meta.

use std::collections::VecDeque;

use parking_lot::Mutex;
use serde_json::{Map, Value};

/// An object.
struct Object {
    /// The path of the list with the object.
    list: String,
    id: String,
    name: String,
    fields: Map<String, Value>,
}

/// The objects, oldest first, and what was deleted.
#[derive(Default)]
pub(crate) struct Kept {
    objects: Mutex<VecDeque<Object>>,
    /// The path of the list, and the id or name, of deleted objects and files.
    deleted: Mutex<VecDeque<(String, String)>>,
}

impl Kept {
    /// Adds an object to a list; beyond [`MAX_OBJECTS`] the oldest is dropped.
    pub(crate) fn add(&self, list: &str, id: &str, name: &str, fields: Map<String, Value>) {
        let mut objects = self.objects.lock();
        if objects.len() >= MAX_OBJECTS {
            objects.pop_front();
        }
        self.deleted
            .lock()
            .retain(|(of, key)| of != list || (key != id && key != name));
        objects.push_back(Object {
            list: list.to_owned(),
            id: id.to_owned(),
            name: name.to_owned(),
            fields,
        });
    }

    /// Returns the objects of a list; `None` if none was ever there.
    pub(crate) fn list(&self, list: &str) -> Option<Vec<Value>> {
        let objects = self.objects.lock();
        let own = objects.iter().filter(|object| object.list == list);
        let all: Vec<_> = own
            .map(|object| Value::Object(object.fields.clone()))
            .collect();
        let has_deleted = || self.deleted.lock().iter().any(|(of, _)| of == list);
        (!all.is_empty() || has_deleted()).then_some(all)
    }

    /// Returns the list that has the object with this id.
    pub(crate) fn list_with(&self, id: &str) -> Option<String> {
        let objects = self.objects.lock();
        objects
            .iter()
            .find(|object| object.id == id)
            .map(|object| object.list.clone())
    }

    /// Returns an object by its id or name.
    pub(crate) fn read(&self, list: &str, key: &str) -> Option<Value> {
        self.change(list, key, &Map::new())
    }

    /// Returns an object by its id or name, after these changes.
    pub(crate) fn change(
        &self,
        list: &str,
        key: &str,
        changes: &Map<String, Value>,
    ) -> Option<Value> {
        let mut objects = self.objects.lock();
        let mut own = objects.iter_mut().filter(|object| object.list == list);
        let found = own.find(|object| object.id == key || object.name == key)?;
        found.fields.extend(changes.clone());
        Some(Value::Object(found.fields.clone()))
    }

    /// Deletes an object. Returns true if it was there.
    pub(crate) fn remove(&self, list: &str, key: &str) -> bool {
        let mut objects = self.objects.lock();
        let before = objects.len();
        objects.retain(|object| object.list != list || (object.id != key && object.name != key));
        let is_removed = objects.len() < before;
        if is_removed {
            self.note_deleted(list, key);
        }
        is_removed
    }

    /// Notes that an object or file is deleted.
    pub(crate) fn note_deleted(&self, list: &str, key: &str) {
        let mut deleted = self.deleted.lock();
        if deleted.len() >= MAX_OBJECTS {
            deleted.pop_front();
        }
        deleted.push_back((list.to_owned(), key.to_owned()));
    }

    /// True for an object or file that was deleted.
    pub(crate) fn is_deleted(&self, list: &str, key: &str) -> bool {
        let deleted = self.deleted.lock();
        deleted.iter().any(|(of, own)| of == list && own == key)
    }
}

/// The number of objects, and of deleted ones: more than a test makes.
const MAX_OBJECTS: usize = 1000;
