//! `/deployments`: upload, list, show.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use podium_kit::HttpError;
use podium_registry::{Staged, Upload};
use podium_wire::limits::LimitsInForce;
use podium_wire::rest::{Deployed, DeploymentDetail, DeploymentPage};
use podium_wire::{DeploymentRef, ErrorCode};

use super::form::{Field, Form};
use crate::agents::resolve_limits;
use crate::deploy::{self, Naming};
use crate::error::Error;
use crate::host::Parts;

/// Bytes of a text field of the form: a type or a version.
const FIELD_BYTES_MAX: usize = 256;

/// Uploaded bytes that are gathered before they are written.
const WRITE_BYTES: usize = 1024 * 1024;

/// Takes the multipart form `file, agent_type?, version?` in any order.
pub(super) async fn deploy(
    State(parts): State<Arc<Parts>>,
    request: Request,
) -> Result<(StatusCode, Json<Deployed>), HttpError> {
    let mut form = Form::new(request).await?;
    let (upload, naming) = match receive(&parts, &mut form).await {
        Ok(received) => received,
        Err(error) => {
            form.drain().await;
            return Err(error.into());
        }
    };
    let deployed = deploy::deploy(&parts, upload, naming).await?;
    let status = if deployed.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(deployed)))
}

async fn receive(parts: &Arc<Parts>, form: &mut Form) -> Result<(Upload, Naming), Error> {
    let mut naming = Naming::default();
    let mut upload = None;
    while let Some(mut field) = form.next().await? {
        match field.name() {
            Some("file") if upload.is_none() => {
                let _held = parts.transfers.begin()?;
                let registry = Arc::clone(&parts.registry);
                let mut staged = blocking(move || registry.stage()).await??;
                let mut gathered = Vec::new();
                while let Some(piece) = field.piece().await? {
                    gathered.extend_from_slice(&piece);
                    if gathered.len() >= WRITE_BYTES {
                        staged = write(staged, std::mem::take(&mut gathered)).await?;
                    }
                }
                staged = write(staged, gathered).await?;
                upload = Some(blocking(move || staged.finish()).await??);
            }
            Some("agent_type") => {
                let text = text_field(&mut field).await?;
                let parsed = text.parse().map_err(|error| coded(ErrorCode::InvalidAgentType, &error))?;
                naming.agent_type = Some(parsed);
            }
            Some("version") => {
                let text = text_field(&mut field).await?;
                naming.version = Some(text.parse().map_err(|error| coded(ErrorCode::InvalidVersion, &error))?);
            }
            other => {
                let message =
                    format!("the form has an unexpected field `{}`", other.unwrap_or_default().escape_debug());
                return Err(Error::coded(ErrorCode::BadRequest, message));
            }
        }
    }
    let upload = upload.ok_or_else(|| Error::coded(ErrorCode::BadRequest, "the form has no field `file`"))?;
    Ok((upload, naming))
}

async fn text_field(field: &mut Field<'_>) -> Result<String, Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = field.piece().await? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > FIELD_BYTES_MAX {
            return Err(Error::coded(ErrorCode::BadRequest, "a field of the form is too long"));
        }
    }
    String::from_utf8(bytes).map_err(|_| Error::coded(ErrorCode::BadRequest, "a field of the form is not UTF-8"))
}

async fn write(mut staged: Staged, bytes: Vec<u8>) -> Result<Staged, Error> {
    Ok(blocking(move || staged.write(&bytes).map(|()| staged)).await??)
}

/// Lists deployments by type and version.
pub(super) async fn list(State(parts): State<Arc<Parts>>) -> Result<Json<DeploymentPage>, HttpError> {
    let registry = Arc::clone(&parts.registry);
    let deployments = blocking(move || registry.list()).await?.map_err(Error::from)?;
    Ok(Json(DeploymentPage { deployments }))
}

/// Shows one, by any reference to it, with the limits in force.
pub(super) async fn show(
    State(parts): State<Arc<Parts>>,
    Path(id): Path<String>,
) -> Result<Json<DeploymentDetail>, HttpError> {
    let reference: DeploymentRef = id.parse().map_err(|error| coded(ErrorCode::DeploymentNotFound, &error))?;
    let registry = Arc::clone(&parts.registry);
    let deployment = blocking(move || registry.find(&reference)).await?.map_err(Error::from)?;
    let limits = LimitsInForce::from(&resolve_limits(&deployment)?);
    Ok(Json(DeploymentDetail { deployment, limits }))
}

fn coded(code: ErrorCode, error: &podium_wire::InvalidId) -> Error {
    Error::coded(code, error.to_string())
}

async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, Error> {
    podium_kit::spawn::blocking(work).await.map_err(|_| Error::Stopping)
}
