//! Tokens of an authorization server: who is let in, who is not, and what happens when its keys change.
//!
//! The authorization server is a few lines of this file; keys and signatures are made by *ring*, and the
//! tokens by hand.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as B64};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};

use crate::support::web::{Client, Served, send};

const AUDIENCE: &str = "https://husk.example.com/mcp";

/// A key of the authorization server.
struct Key {
    name: String,
    pair: EcdsaKeyPair,
}

impl Key {
    fn new(name: &str) -> Self {
        let (way, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(way, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(way, pkcs8.as_ref(), &random).unwrap();
        Self { name: name.to_owned(), pair }
    }

    fn public(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.name,
            "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..])})
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| B64.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", B64.encode(signature))
    }
}

/// An authorization server, as far as husk asks it.
struct Issuer {
    url: String,
    keys: Arc<Mutex<Vec<Value>>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    fn start(first: &Key) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let keys = Arc::new(Mutex::new(vec![first.public()]));
        let asked = Arc::new(AtomicUsize::new(0));
        let (told, count, base) = (Arc::clone(&keys), Arc::clone(&asked), url.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                let body = match line.split(' ').nth(1).unwrap() {
                    "/.well-known/openid-configuration" => {
                        Some(json!({"issuer": base, "jwks_uri": format!("{base}/keys")}))
                    }
                    "/keys" => {
                        count.fetch_add(1, Ordering::SeqCst);
                        Some(json!({"keys": *told.lock().unwrap()}))
                    }
                    _ => None,
                };
                let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
                let body = body.unwrap_or_default().to_string();
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
            }
        });
        Self { url, keys, asked }
    }

    fn claims(&self) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        json!({"iss": self.url, "aud": AUDIENCE, "sub": "alice", "exp": now + 600, "iat": now,
            "scope": "notebook:run"})
    }
}

fn header(key: &Key) -> Value {
    json!({"alg": "ES256", "typ": "at+jwt", "kid": key.name})
}

fn served(issuer: &Issuer) -> Served {
    let issuer = format!("http.oauth.issuer={}", issuer.url);
    let audience = format!("http.oauth.audience={AUDIENCE}");
    Served::start(&["--set", &issuer, "--set", &audience])
}

#[test]
fn only_tokens_of_the_issuer_for_this_server_let_in() {
    let key = Key::new("one");
    let issuer = Issuer::start(&key);
    let served = served(&issuer);
    let good = key.sign(&header(&key), &issuer.claims());
    assert_eq!(served.client(Some(&good)).run("main", "x = 1; print(x)"), "1\n");

    let refused = |token: &str, why: &str| {
        let Err(answer) = Client::initialize(&served.at, Some(token)) else { panic!("{why}") };
        assert_eq!(answer.status, 401, "{why}");
        let challenge = answer.header("www-authenticate").unwrap().to_owned();
        assert!(challenge.contains("invalid_token"), "{why}: {challenge}");
    };
    let with = |change: &dyn Fn(&mut Value)| {
        let mut claims = issuer.claims();
        change(&mut claims);
        key.sign(&header(&key), &claims)
    };
    let now = issuer.claims()["iat"].as_u64().unwrap();
    refused(&with(&|claims| claims["aud"] = json!("https://other.example.com/mcp")), "audience");
    refused(&with(&|claims| claims["aud"] = json!(["a", "b"])), "audiences");
    refused(&with(&|claims| claims["iss"] = json!("https://evil.example")), "issuer");
    refused(&with(&|claims| claims["exp"] = json!(now - 61)), "expired");
    refused(&with(&|claims| claims["nbf"] = json!(now + 300)), "not yet");
    for missing in ["aud", "iss", "exp", "sub"] {
        let without = with(&|claims| drop(claims.as_object_mut().unwrap().remove(missing)));
        refused(&without, missing);
    }
    refused(&with(&|claims| claims["sub"] = json!("")), "no subject");
    let other = Key::new("one");
    refused(&other.sign(&header(&key), &issuer.claims()), "another key of that name");
    let (message, _) = good.rsplit_once('.').unwrap();
    refused(&format!("{message}."), "no signature");
    let none = json!({"alg": "none", "kid": "one"});
    let unsigned = key.sign(&none, &issuer.claims());
    refused(&unsigned, "alg none");
    refused(&format!("{}.", unsigned.rsplit_once('.').unwrap().0), "alg none, unsigned");
    let shared = key.sign(&json!({"alg": "HS256", "kid": "one"}), &issuer.claims());
    refused(&shared, "a shared secret");
    refused("a.b.c", "garbage");

    // A list of audiences with ours is as good, and a clock may be a little off.
    let list = with(&|claims| claims["aud"] = json!(["other", AUDIENCE]));
    assert!(Client::initialize(&served.at, Some(&list)).is_ok());
    let late = with(&|claims| claims["exp"] = json!(now - 30));
    assert!(Client::initialize(&served.at, Some(&late)).is_ok());
    // Another subject is another user.
    let bob = with(&|claims| claims["sub"] = json!("bob"));
    assert_eq!(served.client(Some(&bob)).run("main", "print('x' in globals())"), "False\n");
}

#[test]
fn a_client_without_a_token_is_told_where_to_get_one() {
    let key = Key::new("one");
    let issuer = Issuer::start(&key);
    let served = served(&issuer);
    let Err(answer) = Client::initialize(&served.at, None) else { panic!("let in") };
    let challenge = answer.header("www-authenticate").unwrap();
    let place =
        "resource_metadata=\"https://husk.example.com/.well-known/oauth-protected-resource/mcp\"";
    assert!(challenge.starts_with("Bearer ") && challenge.contains(place), "{challenge}");
    for path in ["", "/mcp"] {
        let line = format!("GET /.well-known/oauth-protected-resource{path}");
        let mut answer = send(&served.at, &line, &[], b"");
        assert_eq!(answer.status, 200);
        let told: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(told["resource"], AUDIENCE);
        assert_eq!(told["authorization_servers"], json!([issuer.url]));
        assert!(told["scopes_supported"].as_array().unwrap().contains(&json!("notebook:run")));
    }
    // Scopes are the issuer's to give.
    let mut claims = issuer.claims();
    claims["scope"] = json!("notebook:read");
    let mut reader = served.client(Some(&key.sign(&header(&key), &claims)));
    let call = json!({"name": "notebook_run_cell", "arguments": {"code": "1"}});
    assert_eq!(reader.request("tools/call", call).status, 403);
}

#[test]
fn keys_that_are_made_up_are_not_asked_for_without_end() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let issuer = Issuer::start(&one);
    let served = served(&issuer);
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 0);
    let invalid =
        |token: &str| Client::initialize(&served.at, Some(token)).err().map(|answer| answer.status);
    assert_eq!(invalid(&one.sign(&header(&one), &issuer.claims())), None);
    *issuer.keys.lock().unwrap() = vec![two.public()];
    for n in 0..20 {
        let made_up = json!({"alg": "ES256", "kid": format!("made-up-{n}")});
        assert_eq!(invalid(&one.sign(&made_up, &issuer.claims())), Some(401));
    }
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 1);
    // Known keys go on meanwhile.
    assert_eq!(invalid(&one.sign(&header(&one), &issuer.claims())), None);
}
