//! What tests share: a host that speaks plain JSON-RPC to the binary, and processes to wait for.

pub(crate) mod asked;
pub(crate) mod host;
mod ports;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
pub(crate) mod processes;
#[cfg(feature = "redis")]
pub(crate) mod redis;
pub(crate) mod web;

use std::path::PathBuf;

pub(crate) use ports::free_port;

/// The binary under test.
pub(crate) const HUSK: &str = env!("CARGO_BIN_EXE_husk");

/// A Python with ipykernel, which `tests/run` makes.
pub(crate) fn python() -> PathBuf {
    let given = std::env::var_os("HUSK_TEST_PYTHON").map(PathBuf::from);
    given.unwrap_or_else(|| repository().join("target/test-env/bin/python"))
}

/// A Python environment with other kernels, which `tests/run` makes.
pub(crate) fn kernels() -> PathBuf {
    let given = std::env::var_os("HUSK_TEST_KERNELS").map(PathBuf::from);
    given.unwrap_or_else(|| repository().join("target/test-kernels"))
}

/// A Python environment with gateways for kernels, which `tests/run` makes.
pub(crate) fn servers() -> PathBuf {
    let given = std::env::var_os("HUSK_TEST_SERVERS").map(PathBuf::from);
    given.unwrap_or_else(|| repository().join("target/test-servers"))
}

/// A Python environment with what judges manifests for Kubernetes, which `tests/run` makes.
#[cfg(all(feature = "postgres", feature = "redis"))]
pub(crate) fn kubernetes() -> PathBuf {
    let given = std::env::var_os("HUSK_TEST_KUBERNETES").map(PathBuf::from);
    given.unwrap_or_else(|| repository().join("target/test-kubernetes"))
}

/// An authority (`ca.pem`) and a certificate for `localhost` by it (`cert.pem`, `key.pem`), in that folder.
pub(crate) fn certificates(folder: &std::path::Path) {
    let script = repository().join("tests/clients/tls_client.py");
    let made = std::process::Command::new(python()).arg(script).arg("make").arg(folder).status();
    assert!(made.unwrap().success());
}

/// Where this package is.
pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The binary as a command, with nothing of husk's in its environment.
pub(crate) fn husk() -> std::process::Command {
    let mut command = std::process::Command::new(HUSK);
    without_settings(&mut command);
    command
}

/// Takes the settings of husk, and what the tests themselves are told, from a command.
pub(crate) fn without_settings(command: &mut std::process::Command) {
    let ours = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("HUSK_");
    std::env::vars_os().map(|(name, _)| name).filter(ours).for_each(|name| {
        command.env_remove(name);
    });
}
