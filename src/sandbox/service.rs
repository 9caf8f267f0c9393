//! What a kernel is given beside its program for as long as it lives, such as an account somewhere. Who
//! gives it is somebody else's business.

use std::{error::Error, ffi::OsString, fmt, future::Future, path::Path, pin::Pin};

use super::{
    launch::{LaunchError, Launcher},
    plan::set,
    run_folder::Run,
};
use crate::jail;

/// Gives something to each kernel.
pub trait Service: Send + Sync {
    /// Gives it to a kernel that is about to start.
    fn give<'a>(&'a self, place: Folders<'a>) -> Giving<'a>;

    /// Serves a kernel on that another server has left; what it was given it has.
    ///
    /// # Errors
    /// Why it cannot.
    fn go_on(&self, place: Folders<'_>) -> Result<Option<Box<dyn Gift>>, NotGiven>;
}

/// Something on its way.
pub type Giving<'a> = Pin<Box<dyn Future<Output = Result<Given, NotGiven>> + Send + 'a>>;

/// The folders of a kernel.
#[derive(Debug, Clone, Copy)]
pub struct Folders<'a> {
    /// The whole, which tells it from all others of this machine.
    pub folder: &'a Path,
    /// The server's part, into which no cell sees.
    pub inner: &'a Path,
    /// The kernel's part, where the kernel may write.
    pub outer: &'a Path,
    /// Where the kernel sees its part.
    pub seen: &'a Path,
    /// Whether the kernel can connect to sockets at all.
    pub connects: bool,
}

/// What a kernel has got.
pub struct Given {
    /// Variables that it starts with.
    pub environment: Vec<(String, OsString)>,
    /// What serves it; dropped with the kernel.
    pub gift: Box<dyn Gift>,
}

/// Serves a kernel until it is dropped.
pub trait Gift: Send + Sync {
    /// The kernel outlives this server: what it was given stays.
    fn leave(&mut self);
}

/// Why a kernel does not get what it should.
#[derive(Debug)]
pub struct NotGiven(Box<dyn Error + Send + Sync>);

/// What serves a kernel.
pub type Gifts = Vec<Box<dyn Gift>>;

impl NotGiven {
    /// For this reason.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for NotGiven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for NotGiven {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl Launcher {
    /// What the kernel gets beside its program.
    pub(super) async fn given(
        &self,
        run: &Run,
        jail: &jail::Plan,
        environment: &mut Vec<(OsString, OsString)>,
    ) -> Result<Gifts, LaunchError> {
        let mut gifts = Gifts::new();
        for service in &self.services {
            let seen = jail.seen_run(&run.outer);
            let given =
                service.give(run.folders(&seen, jail)).await.map_err(LaunchError::Service)?;
            for (name, value) in given.environment {
                set(environment, &name, value);
            }
            gifts.push(given.gift);
        }
        Ok(gifts)
    }
}
