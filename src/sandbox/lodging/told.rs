//! What happens in a session, as other servers are told of it.

use std::time::Duration;

use super::Lodging;
use crate::{
    jail,
    sandbox::{body::Body, launch::Kernel, left::LeftCell, state::tenure::Step},
};

impl Lodging {
    /// The kernel is ready and written down: it outlives this server from here on.
    pub(in crate::sandbox) fn kept(&self, kernel: &Kernel, most: Option<Duration>) {
        if let (Some(_), Body::Own(process)) = (&self.held, &kernel.body) {
            jail::fault_point("ready");
            process.keep(most.map_or(self.keep(), |most| most.min(self.keep())));
            jail::fault_point("kept");
        }
    }

    /// A cell is handed to the kernel.
    pub(in crate::sandbox) fn cell_begins(
        &self,
        kernel: &Kernel,
        number: u64,
        cell: impl FnOnce() -> LeftCell,
    ) {
        let Some(held) = &self.held else { return };
        if let Err(error) = kernel.begins(&cell()) {
            tracing::warn!(%error, "a later server will not know of the cell");
        }
        held.tell(Step::CellBegan(number));
    }

    /// The kernel runs the cell that it was found with.
    pub(in crate::sandbox) fn goes_on(&self, number: u64) {
        if let Some(held) = &self.held {
            held.tell(Step::CellBegan(number));
        }
    }

    /// It is over.
    pub(in crate::sandbox) fn cell_ended(&self, kernel: &Kernel) {
        if let Some(held) = &self.held {
            kernel.ended();
            held.tell(Step::CellEnded);
        }
    }

    /// The kernel is gone.
    pub(in crate::sandbox) fn gone(&self) {
        if let Some(held) = &self.held {
            held.tell(Step::Gone);
        }
    }

    /// Another server has it.
    pub(in crate::sandbox) fn forget(&mut self) {
        self.held = None;
    }
}
