//! Bounds on what one render may use. They are counts, not times, so that the same chart with the same values
//! fails the same way everywhere.

use super::error::Failure;

/// What one render may use. Whatever goes over a limit is an error that names the template and line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderLimits {
    /// How many steps the templates may take together. A step is a node of a template, a function call, or 64
    /// bytes of text that a function works on. The default, 10 million, is of the order of a second; the
    /// largest public charts take less than one million.
    pub steps: u64,
    /// How many bytes of text and lists the templates may produce together, freed ones included: an upper
    /// bound of the memory in use. 128 MiB by default.
    pub memory_bytes: usize,
    /// How many bytes all templates may write together. 16 MiB by default.
    pub output_bytes: usize,
    /// How deep `include`, `template`, `tpl`, blocks and parentheses may nest together, 200 by default. Each
    /// level takes stack: the default fits a thread of 2 MiB even in an unoptimised build, where 250 levels were
    /// seen to take up to 1.6 MiB. Helm allows 1000
    /// includes of each name.
    pub depth: usize,
}

impl Default for RenderLimits {
    fn default() -> Self {
        Self { steps: 10_000_000, memory_bytes: 128 << 20, output_bytes: 16 << 20, depth: 200 }
    }
}

/// How much of the limits is left.
pub(crate) struct Budget<'a> {
    limits: &'a RenderLimits,
    steps: u64,
    memory_bytes: usize,
    depth: usize,
}

impl<'a> Budget<'a> {
    pub(crate) fn new(limits: &'a RenderLimits) -> Self {
        Self { limits, steps: 0, memory_bytes: 0, depth: 0 }
    }

    /// Counts one step.
    pub(crate) fn step(&mut self) -> Result<(), Failure> {
        self.steps(1)
    }

    /// Counts the steps of reading that many bytes.
    pub(crate) fn read(&mut self, bytes: usize) -> Result<(), Failure> {
        self.steps(bytes as u64 / 64)
    }

    /// Counts bytes about to be produced. To be called before they are, if they can be many.
    pub(crate) fn produce(&mut self, bytes: usize) -> Result<(), Failure> {
        self.memory_bytes = self.memory_bytes.saturating_add(bytes);
        if self.memory_bytes > self.limits.memory_bytes {
            return Err(self.too_much());
        }
        self.read(bytes)
    }

    /// Refuses bytes that could not be produced any more, without counting them.
    pub(crate) fn affords(&self, bytes: usize) -> Result<(), Failure> {
        if self.memory_bytes.saturating_add(bytes) > self.limits.memory_bytes {
            return Err(self.too_much());
        }
        Ok(())
    }

    fn too_much(&self) -> Failure {
        Failure::new(format!("the templates produce more than {} bytes in total", self.limits.memory_bytes))
    }

    /// Counts a number of steps.
    pub(crate) fn steps(&mut self, count: u64) -> Result<(), Failure> {
        self.steps = self.steps.saturating_add(count);
        if self.steps > self.limits.steps {
            return Err(Failure::new(format!("the templates take more than {} steps", self.limits.steps)));
        }
        Ok(())
    }

    /// Goes one level deeper; [`Budget::leave`] comes back, also after an error.
    pub(crate) fn enter(&mut self) -> Result<(), Failure> {
        if self.depth >= self.limits.depth {
            return Err(Failure::new(format!("the templates nest deeper than {} levels", self.limits.depth)));
        }
        self.depth += 1;
        Ok(())
    }

    /// Comes back from [`Budget::enter`].
    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }
}
