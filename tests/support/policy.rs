//! The policy of a configuration, loaded into the process of the tests.

use std::path::PathBuf;

use http::Request;
use keyside::config::ConfigFile;
use keyside::reload::metrics::ReloadMetrics;
use keyside::reload::{Live, load};
use prometheus_client::registry::Registry;
use tokio::runtime::{Builder, Runtime};

/// A loaded configuration. A test with a hundred requests judges them here in less time than one
/// start of `keyside explain` takes.
pub struct Loaded {
    live: Live,
    _runtime: Runtime,
}

impl Loaded {
    pub fn of(config: PathBuf) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let metrics = ReloadMetrics::register(&mut Registry::default());
        let live = runtime.block_on(load(&ConfigFile::Named(config), &metrics));
        Self {
            live: live.unwrap_or_else(|error| panic!("{error}")),
            _runtime: runtime,
        }
    }

    /// The operation of a request, or the refusal.
    pub fn operation_of(&self, method: &str, target: &str) -> String {
        let request = Request::builder().method(method).uri(target);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        match self.live.generation.policy.check(&parts, None) {
            Ok(permit) => permit.operation.name.clone(),
            Err(denied) => format!("{:?}", denied.error),
        }
    }
}
