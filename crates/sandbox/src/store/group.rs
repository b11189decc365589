//! Groups of phone numbers.

use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::ids;

/// A group.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) id: String,
    /// The number that made the group.
    pub(crate) sender: String,
    pub(crate) subject: String,
    pub(crate) description: String,
    pub(crate) join_approval_mode: String,
    /// The moment of creation, in Unix seconds.
    pub(crate) created: u64,
    /// The id in the invite link.
    pub(crate) invite: String,
    /// The phone numbers of the members.
    pub(crate) participants: Vec<String>,
    /// The requests to join: the id of each, and who asks.
    pub(crate) join_requests: Vec<(String, String)>,
}

/// The groups of all numbers.
#[derive(Default)]
pub(crate) struct Groups(Mutex<Vec<Group>>);

impl Groups {
    /// Makes a group with a member, and with a request to join if joining needs approval.
    pub(crate) fn create(
        &self,
        sender: &str,
        subject: &str,
        description: &str,
        mode: &str,
    ) -> Option<Group> {
        let mut groups = self.0.lock();
        if groups.len() >= MAX_GROUPS {
            return None;
        }
        let asked = (mode == APPROVAL_REQUIRED).then(|| (ids::object_id(), GUEST.to_owned()));
        let created = SystemTime::now().duration_since(UNIX_EPOCH);
        let group = Group {
            id: ids::group_id(sender),
            sender: sender.to_owned(),
            subject: subject.to_owned(),
            description: description.to_owned(),
            join_approval_mode: mode.to_owned(),
            created: created.unwrap_or_default().as_secs(),
            invite: ids::hex(22),
            participants: vec![MEMBER.to_owned()],
            join_requests: asked.into_iter().collect(),
        };
        groups.push(group.clone());
        Some(group)
    }

    /// Returns a group.
    pub(crate) fn get(&self, id: &str) -> Option<Group> {
        self.0.lock().iter().find(|group| group.id == id).cloned()
    }

    /// Returns the groups of a number.
    pub(crate) fn of_sender(&self, sender: &str) -> Vec<Group> {
        let groups = self.0.lock();
        groups
            .iter()
            .filter(|group| group.sender == sender)
            .cloned()
            .collect()
    }

    /// Changes a group, and returns the result of the change; `None` for an unknown group.
    pub(crate) fn change<T>(&self, id: &str, change: impl FnOnce(&mut Group) -> T) -> Option<T> {
        let mut groups = self.0.lock();
        groups.iter_mut().find(|group| group.id == id).map(change)
    }

    /// Removes a group. Returns false for an unknown group.
    pub(crate) fn remove(&self, id: &str) -> bool {
        let mut groups = self.0.lock();
        let before = groups.len();
        groups.retain(|group| group.id != id);
        groups.len() < before
    }
}

/// The mode of a group that approves each member.
pub(crate) const APPROVAL_REQUIRED: &str = "approval_required";

/// The first member of every group.
const MEMBER: &str = "15550001234";

/// The user who asks to join.
const GUEST: &str = "15550005678";

/// The groups of one number, from Meta's documentation; here of all numbers together.
const MAX_GROUPS: usize = 10_000;
