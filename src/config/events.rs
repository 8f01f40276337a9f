//! Where events go: endpoints by name, with the secrets they are signed with.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};

use super::{HIDDEN, Reader, address, is_loopback, read_small};

/// Most endpoints, and most secrets of one of them: an event is one row for each endpoint.
const ENDPOINTS_MAX: usize = 8;
const SECRETS_MAX: usize = 3;

/// What the courier of events knows of its settings: this room hands them on, and names it not.
#[derive(Debug, Clone, Copy)]
pub struct EventChecks {
    /// What is wrong with an address, whether or not it may be on this machine; a sentence part.
    pub address: fn(&str, bool) -> Result<(), String>,
    /// What is wrong with a secret: a sentence part that begins with "holds" and repeats nothing of it.
    pub secret: fn(&str) -> Result<(), String>,
}

impl EventChecks {
    /// Nothing more is looked at than is known here.
    pub const NONE: Self = Self { address: |_, _| Ok(()), secret: |_| Ok(()) };
}

/// An endpoint that events are delivered to.
#[derive(Clone)]
pub struct EventEndpoint {
    /// Its name.
    pub name: String,
    /// Its address. Path and query may hold what is nobody's business: see [`Self::shown`].
    pub url: String,
    /// What is signed with: one secret, or several during a rotation.
    pub secrets: Vec<SecretString>,
    /// Where these stand.
    files: Vec<String>,
}

impl EventEndpoint {
    /// Its address as people may see it: scheme, host and port.
    #[must_use]
    pub fn shown(&self) -> String {
        shown(&self.url)
    }

    /// The same files as they are now: a rotation changes them under a running process.
    ///
    /// # Errors
    /// A sentence naming the file that holds no secret any more; it repeats nothing of it.
    pub fn read_again(&self) -> Result<Self, String> {
        let read = |file: &String| read_secret(file).map_err(|why| format!("{file} {}", why.said()));
        let secrets = self.files.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { secrets, ..self.clone() })
    }

    /// Would everything be signed as by the other?
    #[must_use]
    pub fn signs_as(&self, other: &Self) -> bool {
        let exposed =
            |one: &Self| -> Vec<String> { one.secrets.iter().map(|it| it.expose_secret().to_owned()).collect() };
        exposed(self) == exposed(other)
    }
}

impl fmt::Debug for EventEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventEndpoint")
            .field("name", &self.name)
            .field("url", &self.shown())
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// Scheme, host and port of an address.
fn shown(url: &str) -> String {
    match (address(url), url.split_once("://")) {
        (Ok(_), Some((scheme, rest))) => format!("{scheme}://{}", rest.split('/').next().unwrap_or_default()),
        (_, _) => HIDDEN.to_owned(),
    }
}

/// Who is told of events.
#[derive(Debug, Clone)]
pub struct EventsConfig {
    /// The endpoints.
    pub endpoints: Vec<EventEndpoint>,
    /// The one that sends notices to people.
    pub notices_to: String,
    /// May they be on this machine? Never in production.
    pub loopback: bool,
}

/// Why a file holds no secret.
enum NoSecret {
    Unreadable(String),
    OfAnotherForm,
}

impl NoSecret {
    fn said(&self) -> String {
        match self {
            Self::Unreadable(why) => format!("cannot be read ({why})"),
            Self::OfAnotherForm => "holds no secret of Standard Webhooks".to_owned(),
        }
    }
}

fn read_secret(path: &str) -> Result<SecretString, NoSecret> {
    let text = read_small(Path::new(path)).map_err(NoSecret::Unreadable)?;
    if ["whsec_", "whsk_"].iter().any(|start| text.trim().starts_with(start)) {
        Ok(SecretString::from(text.trim().to_owned()))
    } else {
        Err(NoSecret::OfAnotherForm)
    }
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.len() <= 40 && name.bytes().all(plain)
}

/// The pairs of a list of `NAME=VALUE`. Of an address only scheme, host and port are shown: the rest may be a secret.
fn pairs(r: &mut Reader, key: &'static str, show_all: bool, example: &str) -> Vec<(String, String)> {
    let Some(said) = r.said(key) else { return Vec::new() };
    let origin = r.origin(key);
    let parts = || said.split(',').map(str::trim).filter(|part| !part.is_empty());
    let told = parts().map(|part| match part.split_once('=') {
        Some((name, value)) => {
            format!("{}={}", name.trim(), if show_all { value.trim().to_owned() } else { shown(value.trim()) })
        }
        None => HIDDEN.to_owned(),
    });
    r.show(key, told.collect::<Vec<_>>().join(","), &origin);
    let mut found = Vec::new();
    for part in parts() {
        match part.split_once('=') {
            Some((name, value)) if is_name(name.trim()) && !value.trim().is_empty() => {
                found.push((name.trim().to_owned(), value.trim().to_owned()));
            }
            Some(_) | None => {
                let why = format!(
                    "is not a name and a value, the name in lower-case letters, digits and hyphens: write it like [\"{example}\"]"
                );
                r.refuse(key, HIDDEN, &why);
            }
        }
    }
    found
}

fn secret(r: &mut Reader, checks: EventChecks, key: &'static str, path: &str) -> Option<SecretString> {
    let mut refuse = |why: &str| {
        let mend =
            "write whsec_ and base64 of 24 to 64 random bytes into it, or whsk_ and base64 of an ed25519 private key";
        r.refuse(key, path, &format!("names a file that {why}: {mend}"));
        None
    };
    match read_secret(path) {
        Ok(secret) => match (checks.secret)(secret.expose_secret()) {
            Ok(()) => Some(secret),
            Err(why) => refuse(&why),
        },
        Err(NoSecret::OfAnotherForm) => refuse("holds no secret of Standard Webhooks"),
        Err(NoSecret::Unreadable(why)) => {
            let why = format!("cannot be read ({why}): name a readable file that holds the secret and nothing else");
            r.refuse(key, path, &why);
            None
        }
    }
}

/// Who is told of events; `None` when nobody is.
pub(super) fn events(r: &mut Reader, checks: EventChecks, production: bool) -> Option<EventsConfig> {
    let loopback = loopback(r, production);
    let urls = pairs(r, "events.endpoints", false, "billing=https://hooks.example.org/autopay");
    let files = pairs(r, "events.secret_files", true, "billing=/run/secrets/autopay-events");
    let notices_to = r.optional("events.notices_to");
    let mut endpoints: Vec<EventEndpoint> = Vec::new();
    for (name, url) in urls {
        if endpoints.iter().any(|known| known.name == name) || endpoints.len() == ENDPOINTS_MAX {
            let why = format!("names an endpoint twice, or more than {ENDPOINTS_MAX}: keep each once");
            r.refuse("events.endpoints", &name, &why);
            continue;
        }
        let fits = address(&url).and_then(|address| {
            if address.https || (loopback && is_loopback(&address.host)) {
                Ok(())
            } else {
                Err("is not https: write https://HOST/PATH".to_owned())
            }
        });
        let fits = fits.and_then(|()| {
            let mend = "write https://HOST/PATH with a host of the public internet";
            (checks.address)(&url, loopback).map_err(|why| format!("{why}: {mend}"))
        });
        if let Err(why) = fits {
            r.refuse("events.endpoints", &name, &why);
        }
        endpoints.push(EventEndpoint { name, url, secrets: Vec::new(), files: Vec::new() });
    }
    let mut refused: BTreeSet<String> = BTreeSet::new();
    for (name, path) in files {
        let Some(place) = endpoints.iter().position(|known| known.name == name) else {
            let why = "is not among events.endpoints: write the name of one of them";
            r.refuse("events.secret_files", &name, why);
            continue;
        };
        match (secret(r, checks, "events.secret_files", &path), endpoints.get_mut(place)) {
            (Some(secret), Some(endpoint)) => {
                endpoint.secrets.push(secret);
                endpoint.files.push(path);
            }
            (_, _) => drop(refused.insert(name)),
        }
    }
    let unsigned: BTreeSet<String> = endpoints
        .iter()
        .filter(|known| !refused.contains(&known.name))
        .filter(|known| known.secrets.is_empty() || known.secrets.len() > SECRETS_MAX)
        .map(|known| known.name.clone())
        .collect();
    for name in unsigned {
        let why = format!(
            "has no secret to sign with, or more than {SECRETS_MAX}: name its file in events.secret_files, two during a rotation"
        );
        r.refuse("events.endpoints", &name, &why);
    }
    let first = endpoints.first().map(|known| known.name.clone());
    let notices_to = match (notices_to, first) {
        (Some(name), _) if !endpoints.iter().any(|known| known.name == name) => {
            r.refuse("events.notices_to", &name, "is not among events.endpoints: write the name of one of them");
            return None;
        }
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => return None,
    };
    Some(EventsConfig { endpoints, notices_to, loopback })
}

/// Whether endpoints may be on this machine: for tests and rehearsals.
fn loopback(r: &mut Reader, production: bool) -> bool {
    let key = "testing.events_to_loopback";
    let Some(text) = r.optional(key) else { return false };
    if production {
        r.refuse(key, &text, "lets events go to this machine, and this is production: remove it");
        return false;
    }
    match text.as_str() {
        "on" => true,
        "off" => false,
        _ => {
            r.refuse(key, &text, "is neither: write on or off");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    fn mistakes(settings: &[(&str, &str)]) -> Vec<String> {
        Config::of(settings).map(|_| ()).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_endpoint_has_a_name_an_address_and_a_secret_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let files = format!("billing={},billing={}", path.display(), path.display());
        let settings = [
            ("events.endpoints", "billing=https://hooks.example.org/a,books=https://books.example.org/"),
            ("events.secret_files", files.as_str()),
        ];
        let wrong = mistakes(&settings);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].contains("books") && wrong[0].contains("no secret"), "{wrong:?}");
        let config = Config::of(&[("events.endpoints", "billing=https://hooks.example.org/a"), settings[1]]).unwrap();
        let events = config.events.as_ref().unwrap();
        assert_eq!((events.endpoints.len(), events.endpoints[0].secrets.len()), (1, 2));
        assert_eq!((events.notices_to.as_str(), events.loopback), ("billing", false));
        assert!(!format!("{config:?}").contains("MfKQ9r8"), "a secret is shown");
        assert!(Config::of(&[]).unwrap().events.is_none());
    }

    #[test]
    fn an_address_is_shown_without_what_may_be_a_secret_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let files = format!("billing={}", path.display());
        let endpoints = "billing=https://hooks.example.org:8443/T0/s3cret";
        let config = Config::of(&[("events.endpoints", endpoints), ("events.secret_files", files.as_str())]).unwrap();
        let shown = config.shown().iter().find(|shown| shown.key == "events.endpoints").unwrap();
        assert_eq!(shown.value, "billing=https://hooks.example.org:8443");
        assert!(!format!("{config:?}").contains("s3cret"), "{config:?}");
        assert_eq!(config.events.unwrap().endpoints[0].url, "https://hooks.example.org:8443/T0/s3cret");
        let wrong = mistakes(&[("events.endpoints", "billing=http://far.example.org/s3cret")]);
        assert!(wrong.iter().all(|why| !why.contains("s3cret")), "{wrong:?}");
    }

    #[test]
    fn secrets_are_read_again_where_they_stand() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let files = format!("billing={}", path.display());
        let settings =
            [("events.endpoints", "billing=https://hooks.example.org/"), ("events.secret_files", files.as_str())];
        let endpoint = Config::of(&settings).unwrap().events.unwrap().endpoints.remove(0);
        assert!(endpoint.signs_as(&endpoint.read_again().unwrap()));
        std::fs::write(&path, "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX\n").unwrap();
        assert!(!endpoint.signs_as(&endpoint.read_again().unwrap()));
        std::fs::write(&path, "s3cret").unwrap();
        let why = endpoint.read_again().unwrap_err();
        assert!(why.contains("no secret") && !why.contains("s3cret"), "{why}");
        std::fs::remove_file(&path).unwrap();
        assert!(endpoint.read_again().unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn every_mistake_about_endpoints_is_named_at_once() {
        let wrong = mistakes(&[
            (
                "events.endpoints",
                "Billing=https://a.example.org/,plain,near=http://127.0.0.1:1/,far=http://far.example.org/",
            ),
            ("events.secret_files", "nobody=/nowhere,near=/nowhere"),
            ("events.notices_to", "nobody"),
            ("testing.events_to_loopback", "perhaps"),
        ]);
        assert_eq!(wrong.len(), 9, "{wrong:#?}");
    }
}
