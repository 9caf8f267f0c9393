//! `husk serve`: the MCP server, on standard input and output or over HTTP.

use std::{ffi::OsString, io::IsTerminal, path::PathBuf, process::ExitCode, time::Duration};

use crate::{
    app,
    config::{Config, Flag},
    mcp::transport::http::listen::Address,
};

/// A read of standard input that is under way in a thread cannot be cancelled; nobody waits for it.
const LEFT_OVERS: Duration = Duration::from_millis(50);

/// Arguments of `husk serve`.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Args {
    /// Serve over HTTP at this address instead: 127.0.0.1:8931, or unix:PATH
    #[arg(long, value_name = "ADDR")]
    http: Option<Address>,
    /// Also serve the older transport, HTTP with server-sent events, at /sse [variable: HUSK_HTTP_SSE]
    #[arg(long, requires = "http")]
    sse: bool,
    /// Answer with plain JSON, for clients that want no stream [variable: HUSK_HTTP_JSON_RESPONSE]
    #[arg(long, requires = "http")]
    json_response: bool,
    /// Certificate chain for TLS, a PEM file [variable: HUSK_HTTP_TLS_CERT]
    #[arg(long, value_name = "FILE", requires = "http")]
    tls_cert: Option<PathBuf>,
    /// Private key for TLS, a PEM file [variable: HUSK_HTTP_TLS_KEY]
    #[arg(long, value_name = "FILE", requires = "http")]
    tls_key: Option<PathBuf>,
    /// Serve whoever reaches an address that others can reach
    #[arg(long, requires = "http")]
    without_authentication: bool,
}

impl Args {
    /// The settings among them.
    pub(super) fn flags(&self) -> Vec<Flag> {
        let yes = |given: bool| given.then(|| OsString::from("true"));
        let path = |path: &Option<PathBuf>| path.clone().map(PathBuf::into_os_string);
        let given = [
            ("http.sse", "--sse", yes(self.sse)),
            ("http.json_response", "--json-response", yes(self.json_response)),
            ("http.tls_cert", "--tls-cert", path(&self.tls_cert)),
            ("http.tls_key", "--tls-key", path(&self.tls_key)),
            (
                "http.without_authentication",
                "--without-authentication",
                yes(self.without_authentication),
            ),
        ];
        given
            .into_iter()
            .filter_map(|(key, name, value)| Some(Flag::new(key, value?, name)))
            .collect()
    }
}

pub(super) fn run(args: &Args, config: &Config) -> super::Outcome {
    let runtime = super::runtime()?;
    let served = match &args.http {
        Some(address) => http(&runtime, config, address),
        None => {
            if std::io::stdin().is_terminal() {
                tracing::info!(
                    "waiting for an MCP host on standard input; `husk --help` tells what else there is"
                );
            }
            Ok(runtime.block_on(app::serve(config, None)))
        }
    };
    runtime.shutdown_timeout(LEFT_OVERS);
    served??;
    Ok(ExitCode::SUCCESS)
}

type Served = Result<Result<(), app::AppError>, &'static str>;

#[cfg(feature = "http")]
fn http(runtime: &tokio::runtime::Runtime, config: &Config, address: &Address) -> Served {
    Ok(runtime.block_on(app::http::serve(config, address, None)))
}

#[cfg(not(feature = "http"))]
fn http(_: &tokio::runtime::Runtime, _: &Config, _: &Address) -> Served {
    Err("this husk was built without HTTP; build it with the feature `http`")
}
