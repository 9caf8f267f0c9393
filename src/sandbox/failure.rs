//! Why there is no kernel, with what was tried and what mends it.

use std::{io, path::PathBuf};

use super::{python, run_folder::RunError, service::NotGiven, tenancy::TenancyError};
#[cfg(feature = "gateway")]
use crate::kernel::gateway::GatewayError;
use crate::{
    jail,
    kernel::{ConnectError, connection::ConnectionError, spec},
};

/// Why there is no kernel.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// No interpreter.
    #[error("no Python to run the kernel on")]
    Python(#[source] python::Error),
    /// No kernelspec of that name.
    #[error("no such kernel")]
    Spec(#[source] spec::NotFound),
    /// The run folder could not be made.
    #[error("no place for the kernel's sockets")]
    Run(#[source] RunError),
    /// The workspace could not be made.
    #[error("cannot make the workspace `{}`", .path.display())]
    Workspace {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The connection could not be prepared.
    #[error("cannot prepare the kernel's connection")]
    Connection(#[source] ConnectionError),
    /// No isolation that may be used works here.
    #[error("cannot isolate the kernel")]
    Isolation(#[source] jail::Unavailable),
    /// The settings open too much, or promise what the level cannot give.
    #[error("cannot isolate the kernel as the settings say")]
    Refused(#[source] jail::plan::Refused),
    /// The kernel is not isolated as it should be.
    #[error("the kernel was started and ended again")]
    Unproven(#[source] jail::choose::Unproven),
    /// The kernel speaks TCP only.
    #[error(
        "this kernel can only be spoken to over TCP, which level `landlock` denies without \
         `sandbox.network = \"full\"`; level `namespaces` needs no such permission"
    )]
    NoTcp,
    /// The proxy cannot be served.
    #[error("cannot serve the kernel's way to the network")]
    Proxy(#[source] io::Error),
    /// Something that it should get.
    #[error("the kernel does not get what the settings give it")]
    Service(#[source] NotGiven),
    /// The process could not be started.
    #[error("cannot start the kernel's process")]
    Spawn(#[source] jail::SpawnError),
    /// The process ended before it answered.
    #[error("`{program}` ended with {exit} before it answered{}", said(.log))]
    Died {
        /// What was started.
        program: String,
        /// How it ended.
        exit: jail::Exit,
        /// What it had written.
        log: String,
    },
    /// The kernel did not answer in time.
    #[error(
        "`{program}` did not answer within {seconds} s (setting `launch.timeout`){}", said(.log)
    )]
    Late {
        /// What was started.
        program: String,
        /// The bound.
        seconds: f64,
        /// What it had written.
        log: String,
    },
    /// The channels failed.
    #[error("cannot talk to `{program}`")]
    Connect {
        /// What was started.
        program: String,
        /// The cause.
        source: ConnectError,
    },
    /// The gateway does not start it.
    #[cfg(feature = "gateway")]
    #[error("the gateway starts no kernel")]
    Gateway(#[source] GatewayError),
    /// A kernel at a gateway did not answer in time.
    #[cfg(feature = "gateway")]
    #[error("no kernel at `{program}` answered within {seconds} s (setting `launch.timeout`)")]
    LateElsewhere {
        /// Where kernels are.
        program: String,
        /// The bound.
        seconds: f64,
    },
    /// A kernel that somebody else started does not answer.
    #[error("no kernel answers at `{}`", .file.display())]
    Absent {
        /// Its connection file.
        file: PathBuf,
        /// The cause, when it is more than silence.
        source: Option<ConnectError>,
    },
    /// The machine has enough.
    #[error(
        "{most} kernels run for all users, and no more may (setting `http.max_kernels`); one that was \
         ended makes room"
    )]
    NoRoom {
        /// How many.
        most: usize,
    },
    /// Another server has the session, which all of them serve.
    #[error("{who} has the session{}", .url.as_ref().map_or_else(String::new, |url| format!(": call it at {url}")))]
    Elsewhere {
        /// Who has it.
        who: String,
        /// Where users reach that server, if it says so.
        url: Option<String>,
    },
    /// Nobody may start it now.
    #[error("the session's kernel is not started")]
    Tenancy(#[source] TenancyError),
    /// The server ends.
    #[error("husk is shutting down")]
    Closing,
}

fn said(log: &str) -> String {
    match log.trim() {
        "" => "; it wrote nothing".to_owned(),
        log => format!("; it wrote:\n{log}"),
    }
}
