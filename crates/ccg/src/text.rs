//! Cleaning of text that came from outside before it is kept or shown.
//!
//! Not allowed here: deciding anything. These functions only shorten and strip.

/// Removes control and direction-changing characters and keeps at most `max_chars` characters.
pub(crate) fn clean(text: &str, max_chars: usize) -> String {
    text.chars().filter(|c| !is_hostile(*c)).take(max_chars).collect()
}

/// The text itself if it is short and made of letters, digits and `_ - . : ` only; such text may stand in a sentence.
pub(crate) fn plain_word(text: &str, max_chars: usize) -> Option<String> {
    let fits = !text.is_empty()
        && text.len() <= max_chars
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':'));
    fits.then(|| text.to_owned())
}

/// Takes an access token out of a message that echoes it.
pub(crate) fn without_secret(text: String, secret: Option<&str>) -> String {
    match secret {
        Some(secret) if !secret.is_empty() && text.contains(secret) => text.replace(secret, "[token]"),
        _ => text,
    }
}

/// One line out of an error and its causes, without any address.
pub(crate) fn cause_of(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut line = String::new();
    let mut next: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = next {
        let one = error.to_string();
        // An outer error often repeats its cause; say it once.
        if !line.contains(&one) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&one);
        }
        next = error.source();
    }
    clean(&line, 200)
}

fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaned_text_is_short_and_has_no_control_characters() {
        assert_eq!(clean("a\r\nb\u{1b}[31m\u{202e}c", 5), "ab[31");
        assert_eq!(clean("čaj", 2), "ča");
    }

    #[test]
    fn only_plain_words_may_stand_in_a_sentence() {
        assert_eq!(plain_word("PAYMENT_ERROR", 40).as_deref(), Some("PAYMENT_ERROR"));
        assert_eq!(plain_word("a b", 40), None);
        assert_eq!(plain_word("", 40), None);
        assert_eq!(plain_word("abcdef", 5), None);
    }

    #[test]
    fn an_echoed_token_is_taken_out() {
        assert_eq!(without_secret("jwt abc.def bad".into(), Some("abc.def")), "jwt [token] bad");
        assert_eq!(without_secret("nothing".into(), None), "nothing");
    }
}
