//! The layer that sees loops: calls that repeat themselves and get nowhere.
//!
//! What came before is remembered for each principal and session ([`trail`]), and a call that goes on
//! with a loop gets first a hint and then a denial. What is the same is told by canonical arguments and
//! normalised results ([`normal`]). Another kind of duplicate, the same call sent twice by its transport,
//! joins the execution that is under way: [`once`] decides that where executions live, and the answers
//! of such calls pass here without being counted.

mod layer;
pub mod normal;
pub mod once;
mod says;
pub mod settings;
pub mod trail;

pub use layer::{Dedup, Streak, Trails};
pub use says::CODES;
pub use settings::Settings;
