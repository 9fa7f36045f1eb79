//! The HTTP calls: one function a verb, answers typed by the caller.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Client, body};
use crate::exit::Failure;

/// For calls that the host answers by itself.
pub(crate) const QUICK: Duration = Duration::from_secs(30);

/// For calls that compile, move files or run a turn; a turn may take an hour without waiting.
pub(crate) const SLOW: Duration = Duration::from_secs(70 * 60);

/// The public routes.
const API: [&str; 2] = ["api", "v1"];

impl Client {
    /// A request to `/api/v1/…`.
    pub(crate) fn api(&self, method: Method, segments: &[&str]) -> Result<RequestBuilder, Failure> {
        self.request(method, &[&API, segments].concat())
    }

    /// A request to any route.
    pub(crate) fn request(&self, method: Method, segments: &[&str]) -> Result<RequestBuilder, Failure> {
        let request = self.http.request(method, self.url(segments)?);
        Ok(match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
    }

    /// Sends a request; an error status is a failure.
    pub(crate) async fn send(&self, request: RequestBuilder, wait: Duration) -> Result<Response, Failure> {
        let sent = request.timeout(wait).send().await;
        self.answered(sent).await
    }

    /// Sends a request whose answer goes on without end.
    pub(crate) async fn send_endless(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let sent = request.send().await;
        self.answered(sent).await
    }

    async fn answered(&self, sent: Result<Response, reqwest::Error>) -> Result<Response, Failure> {
        let response = sent.map_err(|error| body::transport(self.address(), &error))?;
        body::successful(self.address(), response).await
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn fetch<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        wait: Duration,
    ) -> Result<T, Failure> {
        let response = self.send(request, wait).await?;
        body::json(self.address(), response).await
    }

    /// `GET /api/v1/…`
    pub(crate) async fn get<T: DeserializeOwned>(&self, segments: &[&str]) -> Result<T, Failure> {
        self.fetch(self.api(Method::GET, segments)?, QUICK).await
    }

    /// `GET /api/v1/…` with a query.
    pub(crate) async fn get_with<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, Failure> {
        self.fetch(self.api(Method::GET, segments)?.query(query), QUICK).await
    }

    /// A request with a JSON body, or none, whose answer may take as long as a turn.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        segments: &[&str],
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, Failure> {
        let request = self.api(method, segments)?;
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        self.fetch(request, SLOW).await
    }

    /// A request without body whose answer, if any, says nothing new.
    pub(crate) async fn order(&self, method: Method, segments: &[&str]) -> Result<(), Failure> {
        self.send(self.api(method, segments)?, SLOW).await.map(drop)
    }

    /// The next piece of an answer; none at its end.
    pub(crate) async fn piece(&self, response: &mut Response) -> Result<Option<bytes::Bytes>, Failure> {
        response.chunk().await.map_err(|error| body::transport(self.address(), &error))
    }
}
