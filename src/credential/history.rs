//! The histories of a credential: what traffic and rotations have shown, passed from load to load.

use arc_swap::ArcSwapOption;

use super::forbidden::ForbiddenRequests;
use super::hold::Hold;
use super::previous::LastEvent;
use super::renewal::Renewal;
use super::unfinished::UnfinishedRotations;
use super::verification::Verification;

/// The history that a credential keeps over a change of its secrets.
#[derive(Debug, Default)]
pub(super) struct CredentialHistory {
    /// The last event whose signature none of the secrets makes.
    pub(super) last_forgery: LastEvent,
    /// The requests forbidden to every secret at hand.
    pub(super) forbidden: ForbiddenRequests,
    /// The state of renewals.
    pub(super) renewal: Renewal,
    /// The rotations that a process began and did not bring to their end.
    pub(super) unfinished: UnfinishedRotations,
}

/// The history of the newest secret set: the credentials of later loads share it while the secrets
/// are equal.
#[derive(Debug, Default)]
pub(super) struct SecretHistory {
    /// The last answer of the provider about the secrets.
    pub(super) verification: ArcSwapOption<Verification>,
    /// The hold, for requests while the provider refuses every secret set.
    pub(super) hold: Hold,
    /// The last successful request.
    pub(super) last_success: LastEvent,
}
