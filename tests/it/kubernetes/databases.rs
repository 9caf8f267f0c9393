//! PostgreSQL and Redis, started as the manifests say: with their arguments, settings, first accounts and certificates.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{listens, object};
use crate::support::{
    free_port,
    postgres::{as_nobody_special, programs},
};

/// What the image's own first start does, as far as the manifests count on it; then the database until nobody
/// listens any more.
const KEEPER: &str = r#"
trap '' INT TERM HUP
cd "$2" && export PATH="$1:$PATH" PGHOST="$2" PGPORT="$3" POSTGRES_USER=owner HUSK_PASSWORD="$(cat password)"
{ initdb -D data -U owner $5 --auth-local=trust --no-locale -E UTF8 --no-sync &&
  echo 'host all all all scram-sha-256' >>data/pg_hba.conf &&
  pg_ctl -D data -l log -w -o "$4 -k '$2' -c port=$3 -c listen_addresses=localhost" start &&
  createdb -U owner owner && sh -e husk.sh; } >said 2>&1 && echo ready || cat said log
cat >/dev/null
pg_ctl -D data -w -m immediate stop >>said 2>&1
cd / && rm -rf "$2"
"#;

/// A running PostgreSQL. It ends when this is dropped.
pub(super) struct Postgres {
    pub(super) port: u16,
    _stdin: ChildStdin,
    _keeper: Child,
}

impl Postgres {
    /// The one of these manifests, with their secrets; nothing where there can be none, which is said.
    pub(super) fn start(objects: &[Value], secrets: &Path) -> Option<Self> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("husk-pg-").tempdir_in("/tmp").unwrap().keep();
        for (from, to) in [
            ("postgres.crt", "tls.crt"),
            ("postgres.key", "tls.key"),
            ("postgres-husk", "password"),
        ] {
            fs::copy(secrets.join(from), folder.join(to)).unwrap();
        }
        let first = object(objects, "ConfigMap", "postgres")["data"]["husk.sh"].as_str().unwrap();
        fs::write(folder.join("husk.sh"), first).unwrap();
        let container = &object(objects, "StatefulSet", "postgres")["spec"]["template"]["spec"]["containers"]
            [0];
        let args = container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap());
        let args: Vec<&str> = args.collect();
        let args = args.join(" ").replace("/etc/tls", folder.to_str().unwrap());
        let env = container["env"].as_array().unwrap();
        let initdb =
            env.iter().find(|it| it["name"] == "POSTGRES_INITDB_ARGS").unwrap()["value"].as_str();
        let port = free_port();
        let mut command = as_nobody_special(&folder, &[]);
        command.args(["-c", KEEPER, "sh"]).args([&programs, &folder]);
        command.args([&port.to_string(), &args, initdb.unwrap()]);
        let mut keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut stdout = BufReader::new(keeper.stdout.take().unwrap());
        while !said.ends_with("ready\n") {
            assert!(stdout.read_line(&mut said).unwrap() > 0, "PostgreSQL: {said}");
        }
        Some(Self { port, _stdin: keeper.stdin.take().unwrap(), _keeper: keeper })
    }
}

/// A running Redis.
pub(super) struct Redis {
    pub(super) port: u16,
    child: Child,
    _folder: TempDir,
}

impl Redis {
    /// The one of these manifests, with their secrets.
    pub(super) fn start(objects: &[Value], secrets: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        // What the init container does.
        fs::copy(secrets.join("users.acl"), path("users.acl")).unwrap();
        let port = free_port();
        let settings =
            object(objects, "ConfigMap", "redis")["data"]["redis.conf"].as_str().unwrap();
        let settings = settings
            .replace("/etc/tls/tls.crt", secrets.join("redis.crt").to_str().unwrap())
            .replace("/etc/tls/tls.key", secrets.join("redis.key").to_str().unwrap())
            .replace("/data", folder.path().to_str().unwrap())
            .replace("tls-port 6379", &format!("tls-port {port}\nbind 127.0.0.1"));
        fs::write(path("redis.conf"), settings).unwrap();
        let mut command = Command::new("redis-server");
        let mut child = command
            .arg(path("redis.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        listens(port, &mut child);
        Self { port, child, _folder: folder }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
