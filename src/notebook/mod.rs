//! Floor 2: a session's record as a Jupyter notebook (nbformat 4.5).
//!
//! [`document`] says what is recorded, [`record`] keeps the file in the
//! workspace, [`export`] turns a notebook into a script or a text, [`whole`] makes one at once. It runs nothing and knows
//! nothing of kernels or of MCP.

mod bounds;
pub mod document;
pub mod export;
mod nbformat;
pub mod record;
mod spool;
mod target;
pub mod whole;
