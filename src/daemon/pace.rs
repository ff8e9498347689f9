//! Shows how the API server is asked: whether it told everybody to wait, and how many requests may be under way.

use std::time::Instant;

use super::Daemon;
use crate::cluster::PaceReport;

impl Daemon {
    /// The API server told us to wait, or took more again.
    pub(super) fn on_pace(&mut self, report: PaceReport) {
        let PaceReport { held_until, at_once, refusals } = report;
        self.metrics.set_pace(at_once, refusals);
        self.held_until = held_until;
        self.show_hold(Instant::now());
    }

    /// Says until when requests wait, and takes that back when it is over.
    pub(super) fn show_hold(&mut self, now: Instant) {
        self.held_until = self.held_until.filter(|until| *until > now);
        let seconds = self.held_until.map(|until| (until - now).as_secs_f64().ceil());
        #[expect(clippy::cast_possible_truncation, reason = "a wait is a minute at most")]
        let until = seconds.map(|seconds| (self.context.surroundings.clock)() + seconds as i64);
        self.metrics.set_held(until.is_some());
        self.board.update(|picture| picture.fleet.held_until = until);
    }
}
