//! A person, and what a template may say of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::address::Address;

/// A person as the world describes them, before or without a row of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Where mail to them goes.
    pub address: Address,
    /// Empty where it is not known; likewise below.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// ISO 639-1 code of the language they read.
    pub language: String,
    /// Further columns of the import, by their names in lower case.
    pub attributes: BTreeMap<String, String>,
}

/// A person svar keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Contact {
    /// The row.
    pub id: i64,
    /// Who it is.
    #[serde(flatten)]
    pub person: Person,
}

impl Person {
    /// Somebody of whom only the address is known.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self { address, first_name: String::new(), last_name: String::new(), language: String::new(), attributes: BTreeMap::new() }
    }

    /// First and family name, or the address where there is no name.
    #[must_use]
    pub fn display_name(&self) -> String {
        let name = format!("{} {}", self.first_name, self.last_name);
        let name = name.trim();
        if name.is_empty() { self.address.to_string() } else { name.to_owned() }
    }

    /// The fields a template may use. What is not known is absent, so that asking for it is an error that names it.
    #[must_use]
    pub fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        let mut put = |name: &str, value: &str| {
            if !value.is_empty() {
                fields.insert(name.to_owned(), Value::String(value.to_owned()));
            }
        };
        for (name, value) in &self.attributes {
            put(name, value);
        }
        put("first_name", &self.first_name);
        put("last_name", &self.last_name);
        put("language", &self.language);
        put("address", self.address.as_str());
        put("email", self.address.as_str());
        put("name", &self.display_name());
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_absent_and_an_attribute_cannot_pose_as_the_address() {
        let mut person = Person::new(Address::parse("eva@example.org").unwrap());
        person.attributes.insert("address".into(), "other@example.org".into());
        person.attributes.insert("company".into(), "Ångström".into());
        let fields = person.fields();
        assert!(!fields.contains_key("first_name"));
        assert_eq!(fields["address"], "eva@example.org");
        assert_eq!(fields["company"], "Ångström");
        assert_eq!(fields["name"], "eva@example.org");
    }
}
