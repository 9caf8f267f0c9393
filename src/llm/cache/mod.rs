//! What keeps the cost of long conversations down: `plan` puts the marks that make a provider keep
//! the beginning of a prompt, `prefix` notices when such a beginning was broken and why.
//!
//! Pure.

mod minimum;
mod plan;
mod prefix;
mod seed;
#[cfg(test)]
mod tests;

pub use plan::{Mode, Rules, marked, stripped};
pub use prefix::{Broken, Prefix};
