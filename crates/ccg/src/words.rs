//! Enums over the gateway's words that keep a word nobody knows yet.
//!
//! Not allowed here: refusing a word. A newer gateway may say more than this client knows, and that is no error.

/// Longest word kept from a gateway that invents one, in characters.
pub(crate) const WORD_MAX: usize = 64;

/// Makes an enum of the words given, and `Other` for all the rest; further spellings stand behind `|`.
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$about:meta])* $variant:ident = $word:literal $(| $alias:literal)* ),+ $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[$about])* $variant, )+
            /// A word this client does not know, as it came (control characters stripped, at most 64 characters).
            Other(String),
        }

        impl $name {
            /// The gateway's word.
            pub fn as_str(&self) -> &str {
                match self {
                    $( Self::$variant => $word, )+
                    Self::Other(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $( $word $(| $alias)* => Self::$variant, )+
                    other => Self::Other($crate::text::clean(other, $crate::words::WORD_MAX)),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <std::borrow::Cow<'de, str>>::deserialize(deserializer).map(|word| Self::from(word.as_ref()))
            }
        }
    };
}

pub(crate) use words;
