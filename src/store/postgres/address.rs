//! How the address in the settings is connected to, and what in it cannot be obeyed.

use sqlx::{
    ConnectOptions,
    postgres::{PgConnectOptions, PgSslMode},
};

use super::{PostgresError, Url};

/// What names files in an address.
const FILES: [&str; 3] = ["sslrootcert", "sslcert", "sslkey"];

/// How to connect.
pub(super) fn options(url: &Url) -> Result<PgConnectOptions, sqlx::Error> {
    let options: PgConnectOptions = url.reveal().parse()?;
    let named = options.get_application_name().is_some();
    let options = if named { options } else { options.application_name("husk") };
    Ok(options.disable_statement_logging())
}

/// What is wrong with the address, beyond its form.
pub(in crate::store) fn fault(url: &Url) -> Option<String> {
    let options = match options(url) {
        Ok(options) => options,
        Err(error) => return Some(format!("cannot be read: {error}")),
    };
    let [own, key] = ["sslcert", "sslkey"].map(|name| url.parameter(name).is_some());
    if own != key {
        return Some("names one of `sslcert` and `sslkey`, which go together".to_owned());
    }
    let verifies = matches!(options.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull);
    // libpq looks at them with `require` too; sqlx would take anybody's certificate without a word.
    (!verifies && url.parameter("sslrootcert").is_some()).then(|| {
        "names an `sslrootcert`, which only `sslmode=verify-full` (or `verify-ca`) looks at: say \
         `sslmode=verify-full`"
            .to_owned()
    })
}

/// Whether the files can be read that the address names: of one that cannot, a connection would say no
/// more than that there is none.
pub(super) fn readable(url: &Url) -> Result<(), PostgresError> {
    for parameter in FILES {
        let Some(path) = url.parameter(parameter) else { continue };
        if let Err(source) = std::fs::File::open(&path) {
            return Err(PostgresError::File { parameter, path: path.into(), source });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_nobody_would_look_at_are_refused() {
        let check = |query: &str, fits: bool| {
            let told = fault(&Url::new(format!("postgres://me:hunter2@db/husk?{query}")));
            assert_eq!(told.is_none(), fits, "{query}: {told:?}");
        };
        check("sslmode=verify-full&sslrootcert=/ca.pem", true);
        check("sslrootcert=/ca.pem&sslmode=verify-ca", true);
        check("sslmode=require", true);
        check("sslmode=require&sslrootcert=/ca.pem", false);
        check("sslrootcert=/ca.pem", false);
        check("sslmode=require&sslcert=/me.pem&sslkey=/me.key", true);
        check("sslmode=require&sslcert=/me.pem", false);
        check("sslmode=require&sslkey=/me.key", false);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let url = Url::new("postgres://db/husk?sslmode=verify-full&sslrootcert=/no/ca.pem".into());
        let told = readable(&url).unwrap_err().to_string();
        assert!(told.contains("`/no/ca.pem`") && told.contains("`sslrootcert`"), "{told}");
    }
}
