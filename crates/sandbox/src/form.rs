//! `application/x-www-form-urlencoded`, as token requests and query strings are written.

/// The value of the first field with this name.
pub(crate) fn field(text: &str, name: &str) -> Option<String> {
    text.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key)? == name).then(|| decode(value)).flatten()
    })
}

/// Undoes percent-encoding; `None` if that leaves something other than UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = |at: usize| tail.get(at).and_then(|&c| char::from(c).to_digit(16));
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).ok()?);
                rest = &tail[2..];
                continue;
            }
            (b'+', ..) => bytes.push(b' '),
            _ => bytes.push(first),
        }
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn fields_are_decoded() {
        let form = "grant_type=client_credentials&scope=https%3A%2F%2Fapi.uhg.com%2F.default+x&empty=&flag&bad=%ff%zz%";
        assert_eq!(field(form, "grant_type").as_deref(), Some("client_credentials"));
        assert_eq!(field(form, "scope").as_deref(), Some("https://api.uhg.com/.default x"));
        assert_eq!(field(form, "empty").as_deref(), Some(""));
        assert_eq!(field(form, "flag").as_deref(), Some(""));
        assert_eq!(field(form, "bad"), None);
        assert_eq!(field(form, "none"), None);
        assert_eq!(field("a=%zz%", "a").as_deref(), Some("%zz%"));
    }
}
