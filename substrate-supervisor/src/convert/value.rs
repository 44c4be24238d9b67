//! Reading XML-RPC values.

use dxr::Value;

pub(crate) fn structure<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Struct(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

pub(crate) fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

pub(crate) fn integer_of(value: &Value) -> Option<i32> {
    match value {
        Value::Integer(number) => Some(*number),
        _ => None,
    }
}

pub(crate) fn string_of(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// A member of a structure that is text.
pub(crate) fn text_member<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    match value {
        Value::Struct(members) => members.get(name).and_then(string_of),
        _ => None,
    }
}

/// A member of a structure that is a number.
pub(crate) fn integer_member(value: &Value, name: &str) -> Option<i32> {
    match value {
        Value::Struct(members) => members.get(name).and_then(integer_of),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use dxr::MethodResponse;

    use super::*;

    #[test]
    fn the_whitespace_of_a_text_is_part_of_it() {
        // As Python writes it: a log that begins and ends with line ends.
        let xml = "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n<value><array><data>\n\
                   <value><string>\n  one &amp; two  \n\n</string></value>\n<value><int>7</int></value>\n\
                   <value><boolean>0</boolean></value>\n<value><string></string></value>\n\
                   </data></array></value>\n</param>\n</params>\n</methodResponse>\n";
        let answer = array(MethodResponse::from_xml(xml).unwrap().value).unwrap();
        assert_eq!(string_of(&answer[0]), Some("\n  one & two  \n\n"));
        assert_eq!(integer_of(&answer[1]), Some(7));
        assert_eq!(string_of(&answer[3]), Some(""));
    }
}
