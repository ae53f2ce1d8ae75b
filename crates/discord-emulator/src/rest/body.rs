//! Request bodies: JSON, or multipart with `payload_json` and files.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Query, Request};
use axum::http::header;
use serde_json::{Value, json};

use crate::hub::Hub;
use crate::state::{Attachment, Draft, Refusal};

pub type Parameters = Query<HashMap<String, String>>;

/// Files of one message.
const FILES: usize = 10;

/// A JSON body; an empty one is `{}`.
pub struct Payload(pub Value);

impl FromRequest<Arc<Hub>> for Payload {
    type Rejection = Refusal;

    async fn from_request(request: Request, hub: &Arc<Hub>) -> Result<Payload, Refusal> {
        Ok(Payload(Upload::from_request(request, hub).await?.json))
    }
}

/// A body that may come with files.
pub struct Upload {
    pub json: Value,
    pub files: Vec<(String, Option<String>, bytes::Bytes)>,
}

impl FromRequest<Arc<Hub>> for Upload {
    type Rejection = Refusal;

    async fn from_request(request: Request, hub: &Arc<Hub>) -> Result<Upload, Refusal> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let boundary = kind.and_then(|kind| multer::parse_boundary(kind).ok());
        if let Some(boundary) = boundary {
            let body = axum::body::to_bytes(request.into_body(), super::REQUEST).await;
            return multipart(body.map_err(|_| Refusal::TOO_LARGE)?, boundary).await;
        }
        let body = bytes::Bytes::from_request(request, hub).await.map_err(|_| Refusal::TOO_LARGE)?;
        if body.is_empty() {
            return Ok(Upload { json: json!({}), files: Vec::new() });
        }
        let json = serde_json::from_slice(&body).map_err(|_| Refusal::NOT_JSON)?;
        Ok(Upload { json, files: Vec::new() })
    }
}

async fn multipart(body: bytes::Bytes, boundary: String) -> Result<Upload, Refusal> {
    let stream = Body::from(body).into_data_stream();
    let mut parts = multer::Multipart::new(stream, boundary);
    let mut upload = Upload { json: json!({}), files: Vec::new() };
    while let Some(field) = parts.next_field().await.map_err(|_| Refusal::INVALID_FORM)? {
        let name = field.name().unwrap_or_default().to_owned();
        let filename = field.file_name().map(str::to_owned);
        let kind = field.content_type().map(ToString::to_string);
        let data = field.bytes().await.map_err(|_| Refusal::INVALID_FORM)?;
        match filename {
            Some(filename) => {
                if upload.files.len() >= FILES {
                    return Err(Refusal::field("files", "BASE_TYPE_MAX_LENGTH", "Must be 10 or fewer in length."));
                }
                upload.files.push((safe(&filename), kind, data));
            }
            None if name == "payload_json" => {
                upload.json = serde_json::from_slice(&data).map_err(|_| Refusal::NOT_JSON)?;
            }
            None => upload.json[name] = json!(String::from_utf8_lossy(&data)),
        }
    }
    Ok(upload)
}

/// A file's name as it may stand in an address.
fn safe(name: &str) -> String {
    let fits = |char: char| char.is_ascii_alphanumeric() || "._-".contains(char);
    let name: String = name.chars().take(100).map(|char| if fits(char) { char } else { '_' }).collect();
    if name.is_empty() { "unknown".to_owned() } else { name }
}

impl Upload {
    /// The message it describes (`body`: the part of the JSON that is the message); files are stored.
    pub fn draft(self, hub: &Hub, body: &Value) -> Result<Draft, Refusal> {
        let mut draft = Draft::parse(body)?;
        if self.files.iter().any(|(_, _, data)| data.len() > hub.config.limits.upload_bytes) {
            return Err(Refusal::TOO_LARGE);
        }
        let mut world = hub.world();
        for (filename, content_type, data) in self.files {
            let size = data.len();
            let id = world.store_file(data.as_ref().into());
            draft.attachments.push(Attachment { id, filename, content_type, size });
        }
        Ok(draft)
    }
}
