//! How many kernels may run at the same time, for all users of a server together.
//!
//! Each user has sessions of their own, and a bound of them; what the machine bears is one bound for all.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::launch::LaunchError;

/// The bound; without one by default. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Room(Option<(Arc<Semaphore>, usize)>);

/// A kernel's place, as long as the kernel lives.
#[derive(Debug, Default)]
pub(super) struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// For at most so many kernels.
    #[must_use]
    pub fn of(most: usize) -> Self {
        Self(Some((Arc::new(Semaphore::new(most)), most)))
    }

    /// How many kernels have a place; none where nobody counts.
    #[must_use]
    pub fn taken(&self) -> Option<usize> {
        self.0.as_ref().map(|(places, most)| most.saturating_sub(places.available_permits()))
    }

    /// A place for one more.
    pub(super) fn place(&self) -> Result<Place, LaunchError> {
        let Some((places, most)) = &self.0 else { return Ok(Place::default()) };
        match Arc::clone(places).try_acquire_owned() {
            Ok(permit) => Ok(Place { _permit: Some(permit) }),
            Err(_) => Err(LaunchError::NoRoom { most: *most }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_kernel_is_gone() {
        let room = Room::of(2);
        let (one, _two) = (room.place().unwrap(), room.clone().place().unwrap());
        assert_eq!(room.taken(), Some(2));
        assert!(matches!(room.place(), Err(LaunchError::NoRoom { most: 2 })));
        drop(one);
        assert!(room.place().is_ok());
        assert!(Room::default().place().is_ok());
    }
}
