//! Serde's view of a tree. Every fault leaves with the steps to the node it happened at.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::fault::Fault;
use super::node::{Content, Entry, Meaning, Node, Scalar, Step};
use super::placeholder::Placeholder;
use super::scalar::{as_bool, as_float, as_integer};

impl Node {
    /// What serde is told that it met, when it asked for something else.
    fn unexpected(&self) -> Unexpected<'_> {
        match &self.content {
            Content::Null | Content::Placeholder(_) => Unexpected::Unit,
            Content::List(_) => Unexpected::Seq,
            Content::Map(_) => Unexpected::Map,
            Content::Scalar(scalar) => Unexpected::Str(&scalar.text),
        }
    }

    fn mismatch<'de, V: Visitor<'de>>(&self, visitor: &V) -> Fault {
        Fault::invalid_type(self.unexpected(), visitor)
    }

    fn scalar(&self) -> Option<&Scalar> {
        match &self.content {
            Content::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }
}

fn visit_integer<'de, V: Visitor<'de>>(value: i128, visitor: V) -> Result<V::Value, Fault> {
    if let Ok(value) = u64::try_from(value) {
        visitor.visit_u64(value)
    } else if let Ok(value) = i64::try_from(value) {
        visitor.visit_i64(value)
    } else {
        visitor.visit_i128(value)
    }
}

fn visit_float<'de, V: Visitor<'de>>(value: f64, visitor: V) -> Result<V::Value, Fault> {
    if value.is_finite() { visitor.visit_f64(value) } else { Err(Fault::mismatch("a finite number")) }
}

/// A method that hands over a placeholder, then goes on with the node.
macro_rules! for_integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            match &self.content {
                Content::Placeholder(guess) => Placeholder::new(*guess).$method(visitor),
                Content::Scalar(Scalar { meaning: Meaning::Integer(value), .. }) => visit_integer(*value, visitor),
                Content::Scalar(Scalar { meaning: Meaning::Undecided, text }) => match as_integer(text) {
                    Some(value) => visit_integer(value, visitor),
                    None => Err(self.mismatch(&visitor)),
                },
                _ => Err(self.mismatch(&visitor)),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Fault;

    for_integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.content {
            Content::Null => visitor.visit_unit(),
            Content::Placeholder(guess) => Placeholder::new(*guess).deserialize_any(visitor),
            Content::List(_) => self.deserialize_seq(visitor),
            Content::Map(_) => self.deserialize_map(visitor),
            Content::Scalar(scalar) => match scalar.meaning {
                Meaning::Bool(value) => visitor.visit_bool(value),
                Meaning::Integer(value) => visit_integer(value, visitor),
                Meaning::Float(value) => visit_float(value, visitor),
                Meaning::Text | Meaning::Undecided => visitor.visit_borrowed_str(&scalar.text),
            },
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.content {
            Content::Placeholder(guess) => Placeholder::new(*guess).deserialize_bool(visitor),
            Content::Scalar(Scalar { meaning: Meaning::Bool(value), .. }) => visitor.visit_bool(*value),
            Content::Scalar(Scalar { meaning: Meaning::Undecided, text }) => match as_bool(text) {
                Some(value) => visitor.visit_bool(value),
                None => Err(self.mismatch(&visitor)),
            },
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.content {
            Content::Placeholder(guess) => Placeholder::new(*guess).deserialize_f64(visitor),
            Content::Scalar(Scalar { meaning: Meaning::Float(value), .. }) => visit_float(*value, visitor),
            Content::Scalar(Scalar { meaning: Meaning::Integer(value), .. }) => {
                visit_integer(*value, visitor)
            }
            Content::Scalar(Scalar { meaning: Meaning::Undecided, text }) => match as_float(text) {
                Some(value) => visit_float(value, visitor),
                None => Err(self.mismatch(&visitor)),
            },
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_f64(visitor)
    }

    // A text setting takes any scalar as it was written: a password of digits, the version 1.10 and the country
    // `no` are text to their setting, and the file did not lose them.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match (&self.content, self.scalar()) {
            (_, Some(scalar)) => visitor.visit_borrowed_str(&scalar.text),
            (Content::Placeholder(guess), _) => Placeholder::new(*guess).deserialize_str(visitor),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match (&self.content, self.scalar()) {
            (_, Some(scalar)) => visitor.visit_borrowed_bytes(scalar.text.as_bytes()),
            (Content::List(_), _) => self.deserialize_seq(visitor),
            (Content::Placeholder(_), _) => visitor.visit_bytes(&[]),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.content {
            Content::Null | Content::Placeholder(_) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.content {
            Content::Null | Content::Placeholder(_) => visitor.visit_unit(),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    // A key with nothing behind it (all lines below commented out) is an empty list or map, where one is wanted.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.content {
            Content::List(items) => visitor.visit_seq(Items { items: items.iter(), next: 0 }),
            Content::Null => visitor.visit_seq(Items { items: [].iter(), next: 0 }),
            Content::Placeholder(guess) => Placeholder::new(*guess).deserialize_seq(visitor),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Fault> {
        match &self.content {
            Content::List(items) if items.len() != length => {
                Err(Fault::invalid_length(items.len(), &visitor))
            }
            Content::Placeholder(guess) => Placeholder::new(*guess).deserialize_tuple(length, visitor),
            _ => self.deserialize_seq(visitor),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.content {
            Content::Map(entries) => visitor.visit_map(Entries { entries: entries.iter(), current: None }),
            Content::Null => visitor.visit_map(Entries { entries: [].iter(), current: None }),
            Content::Placeholder(guess) => Placeholder::new(*guess).deserialize_map(visitor),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.content {
            Content::Placeholder(guess) => Placeholder::new(*guess).deserialize_struct(name, fields, visitor),
            _ => self.deserialize_map(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.content {
            Content::Placeholder(guess) => Placeholder::new(*guess).deserialize_enum(name, variants, visitor),
            Content::Scalar(scalar) => visitor.visit_enum(Variant { name: &scalar.text, content: None }),
            Content::Map(entries) => match entries.as_slice() {
                [Entry { key, node, .. }] => visitor.visit_enum(Variant { name: key, content: Some(node) }),
                _ => Err(Fault::mismatch(one_of(variants))),
            },
            _ => Err(Fault::mismatch(one_of(variants))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }
}

fn one_of(variants: &[&str]) -> String {
    format!("one of {}", variants.iter().map(|variant| format!("`{variant}`")).collect::<Vec<_>>().join(", "))
}

struct Items<'de> {
    items: std::slice::Iter<'de, Node>,
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let index = self.next;
        self.next += 1;
        seed.deserialize(item).map(Some).map_err(|fault| fault.below(Step::Index(index)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, Entry>,
    current: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some(entry) = self.entries.next() else { return Ok(None) };
        self.current = Some(entry);
        seed.deserialize(Key(&entry.key)).map(Some).map_err(|fault| fault.on_key(&entry.key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let entry =
            self.current.take().ok_or_else(|| Fault::custom("a value was asked for before its key"))?;
        seed.deserialize(&entry.node).map_err(|fault| fault.below(Step::Key(entry.key.clone())))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// A key, which may be wanted as a number or as an enum.
struct Key<'de>(&'de str);

macro_rules! key_integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            match as_integer(self.0) {
                Some(value) => visit_integer(value, visitor),
                None => visitor.visit_borrowed_str(self.0),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = Fault;

    key_integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match as_bool(self.0) {
            Some(value) => visitor.visit_bool(value),
            None => visitor.visit_borrowed_str(self.0),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_enum(Variant { name: self.0, content: None })
    }

    forward_to_deserialize_any! {
        f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}

/// `word`, or `word: content`.
struct Variant<'de> {
    name: &'de str,
    content: Option<&'de Node>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let name: StrDeserializer<'_, Fault> = self.name.into_deserializer();
        seed.deserialize(name).map(|value| (value, self))
    }
}

impl<'de> Variant<'de> {
    /// Reads what stands behind the word.
    fn content<T>(self, read: impl FnOnce(&'de Node) -> Result<T, Fault>) -> Result<T, Fault> {
        let node = self.content.ok_or_else(|| {
            Fault::custom(format!("`{}` needs settings of its own: write it as a map", self.name))
        })?;
        read(node).map_err(|fault| fault.below(Step::Key(self.name.to_owned())))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.content {
            None => Ok(()),
            Some(node) if matches!(node.content, Content::Null | Content::Placeholder(_)) => Ok(()),
            Some(_) => self.content(|_| Err(Fault::mismatch("nothing"))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        self.content(|node| seed.deserialize(node))
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Fault> {
        self.content(|node| node.deserialize_tuple(length, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.content(|node| node.deserialize_struct("", fields, visitor))
    }
}
