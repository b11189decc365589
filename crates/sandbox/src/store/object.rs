//! The ids of objects without a state of their own: flows, signups and others that a call has made.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::ids;

/// The ids, the newest last.
#[derive(Default)]
pub(crate) struct Objects(Mutex<VecDeque<String>>);

impl Objects {
    /// Makes an object, and returns its id.
    pub(crate) fn create(&self) -> String {
        let id = ids::object_id();
        let mut objects = self.0.lock();
        if objects.len() >= MAX_OBJECTS {
            objects.pop_front();
        }
        objects.push_back(id.clone());
        id
    }

    /// Returns true for the id of an object.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.0.lock().iter().any(|known| known == id)
    }

    /// Removes an object.
    pub(crate) fn remove(&self, id: &str) {
        self.0.lock().retain(|known| known != id);
    }
}

/// The objects that are remembered: a bound for a process that runs for days.
const MAX_OBJECTS: usize = 1000;
