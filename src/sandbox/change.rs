//! What changes in the sessions, told to who wants to know.

use crate::base::ids::SessionName;

/// What has changed, for who wants to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// There is another session.
    Sessions,
    /// The notebook of that session has changed.
    Notebook(SessionName),
    /// A cell of that session was asked for, has begun, asks something or has ended.
    Cells(SessionName),
}
