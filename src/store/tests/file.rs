//! What a store in a file leaves on the disk.

use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

#[tokio::test]
async fn only_this_user_can_read_it() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("made/for/it");
    let store = open(&folder).await.unwrap();
    store.add(&calls("a", 1)).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for name in ["husk.sqlite", "husk.sqlite-wal", "husk.sqlite-shm"] {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
}

#[tokio::test]
async fn one_that_is_closed_leaves_one_file() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path()).await.unwrap();
    store.add(&calls("a", 1)).await.unwrap();
    store.close().await;
    assert!(!home.path().join("husk.sqlite-wal").exists());
    assert!(matches!(store.add(&calls("a", 1)).await, Err(StoreError::Closed { .. })));
}

#[tokio::test]
async fn nothing_is_written_when_there_is_nothing_to_write() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path()).await.unwrap();
    store.add(&calls("a", 1)).await.unwrap();
    let log = || fs::read(home.path().join("husk.sqlite-wal")).unwrap();
    let before = log();
    store.add(&UsageChanges { now: NOW + 100, ..UsageChanges::default() }).await.unwrap();
    drop(open(home.path()).await.unwrap());
    assert!(before == log());
}
