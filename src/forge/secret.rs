//! Texts that prove who storekeeper is.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;

use super::error::ForgeError;

/// The largest file that holds a token or a key.
const FILE_MAX: u64 = 64 << 10;

/// A token: it can be sent and never printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(String);

impl Secret {
    /// Takes a token over, without the white space around it that files end with. `from` says where it comes from.
    pub(super) fn new(text: &str, from: &str) -> Result<Self, ForgeError> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let reason = format!("{from} holds no token: one line of printable characters is expected");
            return Err(ForgeError::Settings { reason });
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads a token from its file.
    pub(super) fn read(path: &Path) -> Result<Self, ForgeError> {
        let bytes = read(path)?;
        Self::new(&String::from_utf8_lossy(&bytes), &path.display().to_string())
    }

    /// Returns the header that logs in with it.
    pub(super) fn bearer(&self) -> HeaderValue {
        header(&format!("Bearer {}", self.0))
    }

    /// Returns the header that logs in with it as `user:token`.
    pub(super) fn basic(&self) -> HeaderValue {
        header(&format!("Basic {}", STANDARD.encode(&self.0)))
    }

    /// Tells whether it names its user too.
    pub(super) fn has_user(&self) -> bool {
        self.0.contains(':')
    }

    /// Takes it out of a text that comes back from a forge.
    pub(super) fn hide_in(&self, text: &str) -> String {
        let whole = text.replace(&self.0, "…");
        match self.0.split_once(':') {
            Some((_, token)) if !token.is_empty() => whole.replace(token, "…"),
            _ => whole,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Reads a file of a token or key.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ForgeError> {
    let mut bytes = Vec::new();
    let result = File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes));
    result.map_err(|error| ForgeError::Settings { reason: format!("read {}: {error}", path.display()) })?;
    Ok(bytes)
}

/// The text is printable, as [`Secret::new`] sees to.
fn header(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_line_without_the_space_around_it_and_does_not_print_itself() {
        let secret = Secret::new(" canary\n", "x").unwrap();
        assert_eq!(secret.bearer().to_str().unwrap(), "Bearer canary");
        assert!(!format!("{secret:?} {:?}", secret.bearer()).contains("canary"));
        for bad in ["", " \n", "a b", "canary\nother", "tök"] {
            let error = Secret::new(bad, "/run/token").unwrap_err();
            assert!(error.to_string().contains("/run/token") && !error.to_string().contains("canary"));
        }
    }

    #[test]
    fn a_token_that_comes_back_is_taken_out() {
        assert_eq!(Secret::new("canary", "x").unwrap().hide_in("bad token canary!"), "bad token …!");
        assert_eq!(Secret::new("me:canary", "x").unwrap().hide_in("me: canary me:canary"), "me: … …");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Secret::read(Path::new("/nowhere/token")).unwrap_err();
        assert!(error.to_string().starts_with("use the settings of the forge: read /nowhere/token: "));
    }
}
