//! Reads JSON into structs from objects only. serde's derived code also takes an
//! array as the fields of a struct in order, at every depth; an API that did so
//! would accept what its own description forbids.

use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{Error as _, IntoDeserializer, Unexpected, Visitor};
use serde_json::{Error, Value};

/// A value in which structs are objects.
pub(super) struct Objects(pub(super) Value);

impl<'de> IntoDeserializer<'de, Error> for Objects {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> serde::Deserializer<'de> for Objects {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.into_iter().map(Objects));
                let value = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(value)
            }
            Value::Object(entries) => {
                let entries = entries.into_iter();
                let mut entries = MapDeserializer::new(entries.map(|(k, v)| (k, Objects(v))));
                let value = visitor.visit_map(&mut entries)?;
                entries.end()?;
                Ok(value)
            }
            plain => plain.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(_) => Err(Error::invalid_type(Unexpected::Seq, &"an object")),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(entries) if entries.len() == 1 => {
                let entries = entries.into_iter().map(|(k, v)| (k, Objects(v)));
                visitor.visit_enum(MapAccessDeserializer::new(MapDeserializer::new(entries)))
            }
            // A word; anything else is refused in serde_json's words.
            plain => plain.deserialize_enum(name, variants, visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes
        byte_buf unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "kebab-case")]
    enum Kind {
        Plain,
        Held(Inner),
        Named { inner: Inner },
    }
    #[derive(Debug, Deserialize, PartialEq)]
    struct Inner {
        a: i64,
        b: f64,
    }
    #[derive(Debug, Deserialize, PartialEq)]
    struct Outer {
        inner: Inner,
        list: Vec<Inner>,
        map: BTreeMap<String, Option<Inner>>,
        kind: Kind,
        pair: (u8, String),
        any: Value,
    }

    fn read(value: Value) -> Result<Outer, Error> {
        Outer::deserialize(Objects(value))
    }

    fn good() -> Value {
        let inner = json!({ "a": -1, "b": 2 });
        json!({
            "inner": inner, "list": [inner, inner], "map": { "x": inner, "y": null },
            "kind": { "held": inner }, "pair": [7, "t"], "any": [[1], { "k": [] }]
        })
    }

    #[test]
    fn what_serde_json_reads_from_objects_is_read_alike() {
        let wanted: Outer = serde_json::from_value(good()).expect("right");
        assert_eq!(read(good()).expect("right"), wanted);
        let mut plain = good();
        plain["kind"] = json!("plain");
        assert_eq!(read(plain).expect("right").kind, Kind::Plain);
        let mut named = good();
        named["kind"] = json!({ "named": { "inner": { "a": 1, "b": 1.5 } } });
        assert!(matches!(
            read(named).expect("right").kind,
            Kind::Named { .. }
        ));
    }

    #[test]
    fn an_array_is_no_struct_at_any_depth() {
        for path in ["/inner", "/list/0", "/map/x", "/kind/held"] {
            let mut wrong = good();
            *wrong.pointer_mut(path).expect("there") = json!([1, 2]);
            serde_json::from_value::<Outer>(wrong.clone()).expect("serde itself takes it");
            let error = read(wrong).expect_err(path).to_string();
            assert!(error.contains("sequence"), "{path}: {error}");
        }
        for wrong in [json!([]), json!(1), json!({}), json!({ "inner": {} })] {
            read(wrong).expect_err("refused");
        }
        let mut wrong = good();
        wrong["pair"] = json!([1, "t", 2]);
        read(wrong).expect_err("one too many");
    }
}
