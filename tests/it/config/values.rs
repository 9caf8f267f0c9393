//! For each setting a value that is not its default.

use husk::config::Key;

/// Whether this husk was built with what the setting is about; else each value of it is a fault.
pub(super) fn is_built(key: &Key) -> bool {
    let needs = [
        ("tenant.redis_url", cfg!(feature = "redis")),
        ("shared.redis_url", cfg!(feature = "redis")),
        ("shared.store", cfg!(feature = "postgres")),
        ("gateway.url", cfg!(feature = "gateway")),
    ];
    needs.iter().all(|(name, is_built)| key.key != *name || *is_built)
}

/// A value that is allowed and not the default: in TOML, and as a text.
pub(super) fn another(key: &Key) -> (String, String) {
    // One more than the default lies within the limits of every number.
    let number = key.default.as_ref().and_then(|toml| toml.parse().ok());
    match number.map(|number: f64| (number + 1.0).to_string()) {
        Some(number) => (number.clone(), number),
        None if key.key == "sandbox.env_set" => ("['a=b']".to_owned(), "a=b".to_owned()),
        None if key.key == "http.origins" => {
            ("['https://a.example']".to_owned(), "https://a.example".to_owned())
        }
        None if key.key == "tenant.redis_nodes" => {
            ("['redis://a']".to_owned(), "redis://a".to_owned())
        }
        None if key.key.ends_with(".redis_url") => {
            ("'redis://a'".to_owned(), "redis://a".to_owned())
        }
        None if key.key == "gateway.url" => ("'http://a/'".to_owned(), "http://a/".to_owned()),
        None if key.expected.starts_with("a list") => ("['a']".to_owned(), "a".to_owned()),
        None if key.expected.starts_with("one of") => {
            let words = key.expected.trim_start_matches("one of ").split(", ");
            let other = words.filter(|word| key.default.as_deref() != Some(word)).last().unwrap();
            (other.to_owned(), other.trim_matches('"').to_owned())
        }
        None if key.key == "sandbox.cpus" => ("1.5".to_owned(), "1.5".to_owned()),
        // Less memory starts no kernel.
        None if key.key.starts_with("sandbox.") => {
            ("1000000000".to_owned(), "1000000000".to_owned())
        }
        None if key.expected.contains("whole") => ("7".to_owned(), "7".to_owned()),
        None if key.key == "dedup.mode" => ("'window'".to_owned(), "window".to_owned()),
        None if key.expected.contains("true") => ("true".to_owned(), "true".to_owned()),
        // A share.
        None if key.key == "breaker.fault_share" => ("0.5".to_owned(), "0.5".to_owned()),
        None if key.expected == "a number" => ("7.5".to_owned(), "7.5".to_owned()),
        None if key.key == "notebook.file" => ("'a.ipynb'".to_owned(), "a.ipynb".to_owned()),
        None if key.key == "store.url" => {
            ("'postgres://a/b'".to_owned(), "postgres://a/b".to_owned())
        }
        None if key.key.starts_with("http.oauth.") || key.key == "http.advertise" => {
            ("'https://a.example/b'".to_owned(), "https://a.example/b".to_owned())
        }
        None => ("'abc'".to_owned(), "abc".to_owned()),
    }
}
