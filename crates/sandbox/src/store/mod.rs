//! The data of a sandbox, in stores with a lock each. No lock is held across an await.

pub(crate) mod attempt;
pub(crate) mod group;
pub(crate) mod kept;
pub(crate) mod media;
pub(crate) mod number;
pub(crate) mod object;
pub(crate) mod pace;
pub(crate) mod record;
pub(crate) mod template;
pub(crate) mod token;
pub(crate) mod upload;
