//! Reads a JSON body field by field, with the errors Discord gives for bad ones. Unknown fields are ignored, as Discord does.

use serde_json::{Map, Value};

use super::Refusal;
use crate::id::Snowflake;

pub struct Fields<'a>(pub &'a Map<String, Value>);

impl<'a> Fields<'a> {
    pub fn of(body: &'a Value) -> Result<Fields<'a>, Refusal> {
        let expected = || Refusal::field("_", "DICT_TYPE_CONVERT", "Only dictionaries may be used in a DictType");
        body.as_object().map(Fields).ok_or_else(expected)
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Present and not null.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Text of `low..=high` characters.
    pub fn text(&self, name: &str, low: usize, high: usize) -> Result<Option<String>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(Refusal::field(name, "STRING_TYPE_CONVERT", "Could not interpret as string.")),
        };
        let length = text.chars().count();
        if (low..=high).contains(&length) { Ok(Some(text)) } else { Err(Refusal::length(name, low, high)) }
    }

    pub fn integer(&self, name: &str, low: u64, high: u64) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        let Some(number) = number else {
            return Err(Refusal::field(name, "NUMBER_TYPE_COERCE", format!("Value \"{value}\" is not int.")));
        };
        if (low..=high).contains(&number) {
            return Ok(Some(number));
        }
        let text = format!("int value should be between {low} and {high}.");
        Err(Refusal::field(name, "NUMBER_TYPE_RANGE", text))
    }

    pub fn boolean(&self, name: &str) -> Result<Option<bool>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let expected = || Refusal::field(name, "BOOLEAN_TYPE_CONVERT", "Must be either true or false.");
        value.as_bool().map(Some).ok_or_else(expected)
    }

    pub fn snowflake(&self, name: &str) -> Result<Option<Snowflake>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        serde_json::from_value(value.clone())
            .map(Some)
            .map_err(|_| Refusal::field(name, "NUMBER_TYPE_COERCE", format!("Value {value} is not snowflake.")))
    }

    /// `None`: absent. `Some(None)`: null.
    pub fn nullable_snowflake(&self, name: &str) -> Result<Option<Option<Snowflake>>, Refusal> {
        if self.has(name) { self.snowflake(name).map(Some) } else { Ok(None) }
    }

    pub fn snowflakes(&self, name: &str, most: usize) -> Result<Option<Vec<Snowflake>>, Refusal> {
        let Some(values) = self.list(name, most)? else { return Ok(None) };
        let bad = |_| Refusal::field(name, "NUMBER_TYPE_COERCE", "Value is not snowflake.");
        values
            .iter()
            .map(|value| serde_json::from_value(value.clone()).map_err(bad))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    pub fn list(&self, name: &str, most: usize) -> Result<Option<&'a Vec<Value>>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let Some(list) = value.as_array() else {
            return Err(Refusal::field(name, "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType"));
        };
        if list.len() > most {
            return Err(Refusal::field(name, "BASE_TYPE_MAX_LENGTH", format!("Must be {most} or fewer in length.")));
        }
        Ok(Some(list))
    }

    /// A permission set: text or number.
    pub fn bits(&self, name: &str) -> Result<Option<u64>, Refusal> {
        self.integer(name, 0, u64::MAX)
    }
}
