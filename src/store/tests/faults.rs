//! Whatever is wrong with the file is made to happen, and told.

use std::{fs, os::unix::net::UnixListener, path::Path};

use sqlx::Connection;

use super::*;

/// What opening a folder tells, as its kind and its text.
async fn refusal(folder: &Path, settings: &Settings) -> (StoreError, String) {
    let error = Store::open(folder, |_| None, settings).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&*folder.to_string_lossy()), "names the file: {text}");
    (error, text)
}

/// The connection that writes.
fn writer(store: &Store) -> sqlx::SqlitePool {
    match &store.0 {
        Engine::Sqlite(base) => base.writer.clone(),
        #[cfg(feature = "postgres")]
        Engine::Postgres(_) => unreachable!("a file was opened"),
    }
}

#[tokio::test]
async fn a_file_of_garbage_is_told_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("husk.sqlite");
    fs::write(&file, "no database, but somebody's notes\n".repeat(500)).unwrap();
    let (error, text) = refusal(home.path(), &patient()).await;
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(text.contains("move it"), "{text}");
    assert!(fs::read_to_string(&file).unwrap().starts_with("no database"));
}

#[tokio::test]
async fn a_file_that_was_damaged_is_told_when_it_is_read() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path()).await.unwrap();
    for n in 0..20 {
        let rows = (0..50).map(|m| minute(&format!("somebody {n} {m}"), NOW, 1, 1)).collect();
        let changes = UsageChanges { minutes: rows, now: NOW, ..UsageChanges::default() };
        store.add(&changes).await.unwrap();
    }
    store.close().await;
    let mut bytes = fs::read(home.path().join(FILE)).unwrap();
    // All pages but the first, which says that it is a database.
    bytes[4096..].fill(0xa5);
    fs::write(home.path().join(FILE), bytes).unwrap();
    match open(home.path()).await {
        Err(error) => assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}"),
        Ok(store) => {
            let error = store.usage_since(0).await.unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_locked_file_is_told_after_a_while() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path(), |_| None, &hasty()).await.unwrap();
    let mut other = stranger(&home.path().join(FILE)).await;
    run(&mut other, "BEGIN EXCLUSIVE").await;
    let error = store.add(&calls("a", 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
    assert_eq!(store.usage_since(0).await.unwrap(), [], "reading goes on");
    let (error, text) = refusal(home.path(), &hasty()).await;
    assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
    assert!(text.contains("for 0.03 s"), "{text}");
    run(&mut other, "COMMIT").await;
    store.add(&calls("a", 1)).await.unwrap();
}

#[tokio::test]
async fn a_file_that_another_program_has_for_itself_is_told() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("husk.sqlite");
    fs::write(&file, "").unwrap();
    let mut other = stranger(&file).await;
    run(&mut other, "CREATE TABLE t (a); BEGIN EXCLUSIVE; INSERT INTO t VALUES (1)").await;
    let (error, _) = refusal(home.path(), &hasty()).await;
    assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_told() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path()).await.unwrap();
    sqlx::query("PRAGMA query_only = ON").execute(&writer(&store)).await.unwrap();
    let error = store.add(&calls("a", 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
}

#[tokio::test]
async fn a_full_disk_is_told_and_the_flush_can_be_tried_again() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path()).await.unwrap();
    sqlx::query("PRAGMA max_page_count = 12").execute(&writer(&store)).await.unwrap();
    let rows = (0..600).map(|n| minute(&format!("somebody {n}"), NOW, 1, 1)).collect();
    let changes = UsageChanges { minutes: rows, now: NOW, ..UsageChanges::default() };
    let error = store.add(&changes).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert_eq!(store.usage_since(0).await.unwrap(), [], "nothing of it");
    sqlx::query("PRAGMA max_page_count = 100000").execute(&writer(&store)).await.unwrap();
    store.add(&changes).await.unwrap();
    assert_eq!(store.usage_since(0).await.unwrap().len(), 600);
}

#[tokio::test]
async fn a_store_of_a_later_husk_is_not_touched() {
    let home = tempfile::tempdir().unwrap();
    let _store = open(home.path()).await.unwrap();
    let mut other = stranger(&home.path().join(FILE)).await;
    run(
        &mut other,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
            VALUES (9999, 'the future', 1, x'00', 0)",
    )
    .await;
    let (error, text) = refusal(home.path(), &patient()).await;
    assert!(matches!(error, StoreError::Newer { version: 9999, known: 2, .. }), "{error:?}");
    assert!(text.contains("later husk"), "{text}");
}

#[tokio::test]
async fn tables_of_somebody_else_are_not_touched() {
    let check = async |sql| {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("husk.sqlite");
        open(home.path()).await.unwrap().close().await;
        let mut other = stranger(&file).await;
        run(&mut other, sql).await;
        other.close().await.unwrap();
        let (error, _) = refusal(home.path(), &patient()).await;
        assert!(matches!(error, StoreError::Foreign { .. }), "{sql}: {error:?}");
    };
    check("UPDATE _sqlx_migrations SET checksum = x'00'").await;
    check("DELETE FROM _sqlx_migrations").await;
}

#[tokio::test]
async fn what_is_no_file_is_told_without_opening_it() {
    let home = tempfile::tempdir().unwrap();
    let (folder, socket) = (home.path().join("a"), home.path().join("b"));
    fs::create_dir_all(folder.join("husk.sqlite")).unwrap();
    fs::create_dir(&socket).unwrap();
    let _listener = UnixListener::bind(socket.join("husk.sqlite")).unwrap();
    for place in [folder, socket] {
        let (error, _) = refusal(&place, &patient()).await;
        assert!(matches!(error, StoreError::NoFile { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_told() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("file"), "").unwrap();
    for place in [home.path().join("file/husk"), "/proc/husk".into()] {
        let (error, text) = refusal(&place, &patient()).await;
        assert!(matches!(error, StoreError::Folder { .. }), "{error:?}");
        assert!(text.contains("data_dir"), "{text}");
    }
}

#[tokio::test]
async fn a_network_file_system_is_refused_before_anything_is_there() {
    let home = tempfile::tempdir().unwrap();
    let error = Store::open(home.path(), |_| Some("NFS"), &patient()).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, StoreError::Network { .. }), "{error:?}");
    assert!(text.contains("NFS") && text.contains("data_dir"), "{text}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}
