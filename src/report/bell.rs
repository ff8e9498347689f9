//! Says that something moved to whoever waits for that, without knowing who that is. Pure.

use std::fmt;
use std::sync::{Arc, OnceLock};

/// Rung after every change of what is shown. Cloned handles ring the same bell; until somebody listens, nobody hears it.
#[derive(Clone, Default)]
pub struct Bell(Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>);

impl Bell {
    /// Has this called at each ring, on the ringer's own time. Only the first listener is heard.
    pub fn listen(&self, listener: impl Fn() + Send + Sync + 'static) {
        let _ = self.0.set(Box::new(listener));
    }

    /// Rings.
    pub fn ring(&self) {
        if let Some(listener) = self.0.get() {
            listener();
        }
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bell")
    }
}
