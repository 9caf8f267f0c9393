//! Gives each kernel a password of its user's account, and takes it back when the kernel ends.
//!
//! So a reset is a rotation, and the account goes with the user's last kernel. Passwords of kernels whose
//! server was killed are taken when the user's next kernel starts on that machine.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    admin::{Access, Admin},
    error::TenantError,
    relay::{Relay, SOCKET},
    settings::Settings,
};
use crate::jail;
use crate::sandbox::service::{Folders, Gift, Given, Giving, NotGiven, Service};

/// How long taking back may hold up the end of the server.
const PATIENCE: Duration = Duration::from_secs(10);

/// A password to be taken back.
struct Back {
    user: Arc<str>,
    holder: String,
}

/// All that kernels were lent; its owner closes it.
pub struct Desk {
    admin: Arc<Admin>,
    backs: mpsc::UnboundedSender<Back>,
    task: JoinHandle<()>,
}

/// Lends to the kernels of one user.
struct Lender {
    admin: Arc<Admin>,
    user: Arc<str>,
    backs: mpsc::UnboundedSender<Back>,
}

impl Desk {
    /// Nothing where the settings name no Redis.
    ///
    /// # Errors
    /// [`TenantError`].
    pub fn open(settings: &Settings) -> Result<Option<Self>, TenantError> {
        let Some(admin) = Admin::new(settings)?.map(Arc::new) else { return Ok(None) };
        let (backs, inbox) = mpsc::unbounded_channel();
        let task = tokio::spawn(take_back(Arc::clone(&admin), inbox));
        Ok(Some(Self { admin, backs, task }))
    }

    /// What gives that user's kernels their accounts.
    #[must_use]
    pub fn service(&self, user: &str) -> Arc<dyn Service> {
        Arc::new(Lender {
            admin: Arc::clone(&self.admin),
            user: user.into(),
            backs: self.backs.clone(),
        })
    }

    /// Takes back what is still out there, of kernels that have ended by now.
    pub async fn close(self) {
        let Self { admin: _, backs, mut task } = self;
        drop(backs);
        match tokio::time::timeout(PATIENCE, &mut task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the task that takes back passwords broke"),
            Err(_elapsed) => {
                task.abort();
                tracing::warn!("passwords of kernels that have ended are left at Redis");
            }
        }
    }
}

/// Until nobody can bring anything any more.
async fn take_back(admin: Arc<Admin>, mut inbox: mpsc::UnboundedReceiver<Back>) {
    while let Some(Back { user, holder }) = inbox.recv().await {
        if let Err(error) = admin.release(&user, &holder).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                %user,
                "the password of a kernel that has ended is left at Redis"
            );
        }
    }
}

impl Service for Lender {
    fn give<'a>(&'a self, place: Folders<'a>) -> Giving<'a> {
        Box::pin(async move {
            if !place.connects {
                return Err(NotGiven::new(
                    "level `landlock` lets cells connect to nothing; `tenant.redis_url` takes level `namespaces`, or sandbox.network = \"full\"",
                ));
            }
            let holder = holder(place.folder);
            let access =
                self.admin.grant(&self.user, &holder, &is_gone).await.map_err(NotGiven::new)?;
            // From here on what was lent is taken back.
            let mut loan = self.loan(holder);
            loan.relay = Some(self.relay(place)?);
            Ok(Given { environment: variables(&access, place.seen), gift: Box::new(loan) })
        })
    }

    fn go_on(&self, place: Folders<'_>) -> Result<Option<Box<dyn Gift>>, NotGiven> {
        if !place.outer.join(SOCKET).exists() {
            return Ok(None);
        }
        let mut loan = self.loan(holder(place.folder));
        match self.relay(place) {
            Ok(relay) => loan.relay = Some(relay),
            Err(error) => {
                loan.leave();
                return Err(error);
            }
        }
        Ok(Some(Box::new(loan)))
    }
}

impl Lender {
    fn relay(&self, place: Folders<'_>) -> Result<Relay, NotGiven> {
        Relay::serve(place.inner, place.outer, self.admin.upstream())
            .map_err(|error| NotGiven::new(TenantError::Relay(error)))
    }

    fn loan(&self, holder: String) -> Loan {
        let (user, backs) = (Arc::clone(&self.user), self.backs.clone());
        Loan { relay: None, back: Some(Back { user, holder }), backs }
    }
}

/// What one kernel has.
struct Loan {
    relay: Option<Relay>,
    back: Option<Back>,
    backs: mpsc::UnboundedSender<Back>,
}

impl Gift for Loan {
    fn leave(&mut self) {
        self.back = None;
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            // Where nobody takes it back any more, the next kernel of the user does.
            let _ = self.backs.send(back);
        }
    }
}

/// What a kernel finds of its account.
fn variables(access: &Access, seen: &Path) -> Vec<(String, std::ffi::OsString)> {
    let socket = seen.join(SOCKET);
    let (name, password) = (&access.name, access.password.reveal());
    let url = format!("unix://{name}:{password}@{}?db=0", socket.display());
    let variables = [("REDIS_URL", url), ("REDIS_PREFIX", access.prefix.clone())];
    variables.map(|(name, value)| (name.to_owned(), value.into())).to_vec()
}

/// Who holds the password of the kernel with that folder.
fn holder(folder: &Path) -> String {
    format!("{}{}", machine(), folder.display())
}

/// Whether the holder was a kernel of this machine, and is gone.
fn is_gone(holder: &str) -> bool {
    holder.strip_prefix(&machine()).is_some_and(|folder| !Path::new(folder).exists())
}

fn machine() -> String {
    format!("{}:", jail::host_name())
}
