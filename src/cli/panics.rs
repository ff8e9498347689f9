//! What is said of a panic: where it was, and its words only if they stand in the program's text. Others may repeat what the
//! program was working on, and that may be a Secret.

use std::any::Any;
use std::panic::{PanicHookInfo, set_hook};

/// Writes panics as lines of the log from now on.
pub(super) fn log_panics() {
    set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        tracing::error!(
            at,
            thread = thread.name().unwrap_or_default(),
            "a mistake in storekeeper: {}; please report it",
            words(panic.payload())
        );
    }));
}

/// Returns the words of a panic that can't repeat anything.
fn words(payload: &dyn Any) -> &'static str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .unwrap_or("its words are withheld, for they may repeat data")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_panic_are_said_only_when_the_program_itself_holds_them() {
        let of = |panic: fn()| words(&*std::panic::catch_unwind(panic).unwrap_err());
        assert_eq!(of(|| panic!("a plain mistake")), "a plain mistake");
        assert!(of(|| panic!("read {}", String::from("canary"))).contains("withheld"));
        assert!(of(|| "canary".parse::<u8>().map(|_| ()).unwrap()).contains("withheld"));
    }
}
