//! What a client wants a message to be: the body of a POST or PATCH, checked against Discord's limits.

use serde_json::{Value, json};

use super::{Attachment, Fields, Refusal};
use crate::id::Snowflake;

/// Characters of a message's content, for bots.
const CONTENT: usize = 2000;
const EMBEDS: usize = 10;
/// Characters of all embeds of a message together.
const EMBED_TEXT: usize = 6000;
/// Components of all levels together.
const COMPONENTS: usize = 40;

/// `None`: not given, so a PATCH leaves it.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    pub content: Option<String>,
    pub embeds: Option<Vec<Value>>,
    pub components: Option<Vec<Value>>,
    /// Files sent along; ids and addresses are given by the world.
    pub attachments: Vec<Attachment>,
    /// Ids of attachments that a PATCH keeps.
    pub kept_attachments: Option<Vec<Snowflake>>,
    pub tts: bool,
    pub nonce: Option<Value>,
    /// A nonce seen before gives the message of then.
    pub enforce_nonce: bool,
    pub flags: Option<u64>,
    pub reply_to: Option<Snowflake>,
    pub reply_must_exist: bool,
    pub allowed_mentions: Option<Value>,
}

impl Draft {
    pub fn text(content: impl Into<String>) -> Draft {
        Draft { content: Some(content.into()), ..Draft::default() }
    }

    pub fn parse(body: &Value) -> Result<Draft, Refusal> {
        let fields = Fields::of(body)?;
        let mut draft = Draft {
            content: fields.text("content", 0, CONTENT)?,
            tts: fields.boolean("tts")?.unwrap_or(false),
            nonce: nonce(&fields)?,
            enforce_nonce: fields.boolean("enforce_nonce")?.unwrap_or(false),
            flags: fields.integer("flags", 0, u64::from(u32::MAX))?,
            allowed_mentions: fields.get("allowed_mentions").cloned(),
            ..Draft::default()
        };
        if fields.has("content") && draft.content.is_none() {
            draft.content = Some(String::new());
        }
        if fields.has("embeds") {
            let list = fields.list("embeds", EMBEDS)?;
            draft.embeds = Some(list.into_iter().flatten().map(embed).collect::<Result<_, _>>()?);
            let length: usize = draft.embeds.iter().flatten().map(embed_length).sum();
            if length > EMBED_TEXT {
                let text = format!("Embed size exceeds maximum size of {EMBED_TEXT}");
                return Err(Refusal::field("embeds", "MAX_EMBED_SIZE_EXCEEDED", text));
            }
        }
        if fields.has("components") {
            let mut list: Vec<Value> = fields.list("components", COMPONENTS)?.cloned().unwrap_or_default();
            let mut next = 1;
            for component in &mut list {
                number(component, &mut next, 0)?;
            }
            draft.components = Some(list);
        }
        if let Some(list) = fields.list("attachments", 10)? {
            let id = |value: &Value| Fields::of(value)?.snowflake("id");
            draft.kept_attachments =
                Some(list.iter().filter_map(|value| id(value).transpose()).collect::<Result<_, _>>()?);
        }
        if let Some(reference) = fields.get("message_reference") {
            let reference = Fields::of(reference)?;
            draft.reply_to = reference.snowflake("message_id")?;
            draft.reply_must_exist = reference.boolean("fail_if_not_exists")?.unwrap_or(true);
        }
        Ok(draft)
    }

    pub fn is_empty(&self) -> bool {
        self.content.as_ref().is_none_or(|content| content.trim().is_empty())
            && self.embeds.as_ref().is_none_or(Vec::is_empty)
            && self.components.as_ref().is_none_or(Vec::is_empty)
            && self.attachments.is_empty()
    }
}

fn nonce(fields: &Fields<'_>) -> Result<Option<Value>, Refusal> {
    match fields.get("nonce") {
        Some(Value::String(_)) => Ok(fields.text("nonce", 0, 25)?.map(Value::from)),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(Some(Value::Number(number.clone()))),
        Some(_) => Err(Refusal::field("nonce", "NONCE_TYPE_CONVERT", "Could not interpret as nonce.")),
        None => Ok(None),
    }
}

fn embed(value: &Value) -> Result<Value, Refusal> {
    let fields = Fields::of(value)?;
    fields.text("title", 0, 256)?;
    fields.text("description", 0, 4096)?;
    fields.integer("color", 0, 0xff_ffff)?;
    for field in fields.list("fields", 25)?.into_iter().flatten() {
        let field = Fields::of(field)?;
        field.text("name", 1, 256)?.ok_or_else(|| Refusal::required("embeds.fields.name"))?;
        field.text("value", 1, 1024)?.ok_or_else(|| Refusal::required("embeds.fields.value"))?;
    }
    let mut embed = value.clone();
    embed["type"] = json!("rich");
    for field in embed["fields"].as_array_mut().into_iter().flatten() {
        if field.get("inline").is_none_or(Value::is_null) {
            field["inline"] = json!(false);
        }
    }
    if let Value::Object(map) = &mut embed {
        map.retain(|_, value| !value.is_null());
    }
    Ok(embed)
}

fn embed_length(embed: &Value) -> usize {
    let count = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
    let fields: usize = embed["fields"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|field| count(&field["name"]) + count(&field["value"]))
        .sum();
    count(&embed["title"])
        + count(&embed["description"])
        + count(&embed["footer"]["text"])
        + count(&embed["author"]["name"])
        + fields
}

/// Gives each component the number Discord gives it where the client gave none.
fn number(component: &mut Value, next: &mut u64, depth: usize) -> Result<(), Refusal> {
    if depth > 4 || *next > COMPONENTS as u64 {
        return Err(Refusal::field("components", "COMPONENT_MAX_TOTAL_COMPONENTS_EXCEEDED", "Too many components"));
    }
    let kind = Fields::of(component)?.integer("type", 1, 25)?.ok_or_else(|| Refusal::required("components.type"))?;
    if component.get("id").is_none_or(|id| id.as_u64().unwrap_or(0) == 0) {
        component["id"] = json!(*next);
    }
    *next += 1;
    complete(component, kind);
    if kind == 1 && component["components"].as_array().is_none_or(Vec::is_empty) {
        return Err(Refusal::required("components.components"));
    }
    for child in component.get_mut("components").and_then(Value::as_array_mut).into_iter().flatten() {
        number(child, next, depth + 1)?;
    }
    match component.get_mut("accessory") {
        Some(accessory) if accessory.is_object() => number(accessory, next, depth + 1),
        _ => Ok(()),
    }
}

/// What Discord's answers always say and clients may leave out.
fn complete(component: &mut Value, kind: u64) {
    let defaults = match kind {
        3 | 5..=8 => json!({ "min_values": 1, "max_values": 1 }),
        17 => json!({ "accent_color": null, "spoiler": false }),
        _ => return,
    };
    for (name, value) in defaults.as_object().into_iter().flatten() {
        if component.get(name).is_none() {
            component[name] = value.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_discords() {
        let code = |body: Value| Draft::parse(&body).err().map(|refusal| refusal.code);
        assert_eq!(code(json!({ "content": "x".repeat(2000) })), None);
        assert_eq!(code(json!({ "content": "x".repeat(2001) })), Some(50035));
        assert_eq!(code(json!({ "content": "ä".repeat(2000) })), None, "characters, not bytes");
        assert_eq!(code(json!({ "embeds": vec![json!({ "title": "t" }); 11] })), Some(50035));
        assert_eq!(code(json!({ "embeds": [{ "description": "x".repeat(4097) }] })), Some(50035));
        assert_eq!(code(json!([])), Some(50035));
        let nested = (0..50).fold(json!({ "type": 2 }), |inner, _| json!({ "type": 1, "components": [inner] }));
        assert_eq!(code(json!({ "components": [nested] })), Some(50035));
    }
}
