//! The answers of providers, as data.

/// An answer of the provider.
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The headers besides `Content-Type: application/json`.
    pub(crate) headers: &'static [(&'static str, &'static str)],
    /// The body.
    pub(crate) body: &'static str,
}

impl Answer {
    /// An answer in JSON without further headers.
    pub(crate) const fn json(status: u16, body: &'static str) -> Self {
        Self {
            status,
            headers: &[],
            body,
        }
    }
}
