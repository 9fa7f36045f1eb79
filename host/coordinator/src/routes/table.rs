//! A router that remembers its paths, so that a test can hold them against `/openapi.json`.
//!
//! Owns no route. Must never change how one is served.

use std::sync::Arc;

use axum::Router;
use axum::routing::MethodRouter;

use crate::host::Parts;

/// Routes with the list of their paths.
pub(super) struct Table {
    router: Router<Arc<Parts>>,
    paths: Vec<String>,
}

impl Table {
    /// No routes.
    pub(super) fn new() -> Self {
        Self { router: Router::new(), paths: Vec::new() }
    }

    /// Adds a path with its methods.
    pub(super) fn route(mut self, path: &str, methods: MethodRouter<Arc<Parts>>) -> Self {
        self.paths.push(path.to_owned());
        Self { router: self.router.route(path, methods), paths: self.paths }
    }

    /// Remembers a form of a path that the route of another one tells apart itself.
    pub(super) fn form(mut self, path: &str) -> Self {
        self.paths.push(path.to_owned());
        self
    }

    /// Adds all routes of another table below a path.
    pub(super) fn nest(mut self, path: &str, below: Self) -> Self {
        self.paths.extend(below.paths.iter().map(|inner| format!("{path}{inner}")));
        Self { router: self.router.nest(path, below.router), paths: self.paths }
    }

    /// The router itself.
    pub(super) fn into_router(self) -> Router<Arc<Parts>> {
        self.router
    }

    /// Every path, as it was added.
    #[cfg(test)]
    pub(super) fn paths(&self) -> &[String] {
        &self.paths
    }
}
