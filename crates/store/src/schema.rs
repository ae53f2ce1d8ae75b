//! The tables, and the way from each older schema to the next.

use std::path::Path;

use rusqlite::{Connection, Transaction};

use crate::error::StoreError;
use crate::{record_rollup, rows};

/// `PRAGMA application_id` of every database this crate makes ("NtLt").
const APPLICATION_ID: i32 = 0x4e74_4c74;

/// A script, and what SQL cannot say, done after it in the same transaction.
struct Migration(&'static str, fn(&Transaction<'_>) -> rusqlite::Result<()>);

const fn script(sql: &'static str) -> Migration {
    Migration(sql, |_| Ok(()))
}

/// One per schema version; the first makes version 1. Never edit one that was released: append.
const MIGRATIONS: &[Migration] = &[
    script(include_str!("schema_1.sql")),
    script(include_str!("schema_2.sql")),
    Migration(include_str!("schema_3.sql"), rows::pack_rows),
    script(include_str!("schema_4.sql")),
    script(include_str!("schema_5.sql")),
    script(include_str!("schema_6.sql")),
    script(include_str!("schema_7.sql")),
    Migration(include_str!("schema_8.sql"), record_rollup::sum_up),
];

pub(crate) const VERSION: u32 = MIGRATIONS.len() as u32;

/// `(application_id, user_version)`; both 0 in a fresh database.
fn identity(db: &Connection) -> rusqlite::Result<(i32, u32)> {
    Ok((
        db.pragma_query_value(None, "application_id", |row| row.get(0))?,
        db.pragma_query_value(None, "user_version", |row| row.get(0))?,
    ))
}

/// Brings the database to [`VERSION`], one transaction per step.
pub(crate) fn migrate(db: &mut Connection, path: &Path) -> Result<(), StoreError> {
    migrate_with(db, path, MIGRATIONS)
}

/// Whether [`migrate`] may touch it: a fresh database, or one of ours that is no newer than this program.
pub(crate) fn check_writable(db: &Connection, path: &Path) -> Result<(), StoreError> {
    acceptable(db, path, VERSION).map(drop)
}

/// The version found.
fn acceptable(db: &Connection, path: &Path, known: u32) -> Result<u32, StoreError> {
    let failed = || StoreError::sql("read the schema's version", path);
    let (application, found) = identity(db).map_err(failed())?;
    let tables: u32 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed())?;
    let fresh = application == 0 && found == 0 && tables == 0;
    if application != APPLICATION_ID && !fresh {
        return Err(StoreError::Foreign(path.to_owned()));
    }
    if found > known {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    Ok(found)
}

fn migrate_with(db: &mut Connection, path: &Path, migrations: &[Migration]) -> Result<(), StoreError> {
    let failed = || StoreError::sql("bring the tables up to date", path);
    let before = acceptable(db, path, migrations.len() as u32)?;
    let mut found = before;
    while let Some(Migration(script, then)) = migrations.get(found as usize) {
        let step = db.transaction().map_err(failed())?;
        step.execute_batch(script).map_err(failed())?;
        then(&step).map_err(failed())?;
        step.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed())?;
        step.pragma_update(None, "user_version", found + 1).map_err(failed())?;
        step.commit().map_err(failed())?;
        if before > 0 {
            tracing::info!(path = %path.display(), from = found, to = found + 1, "brought the data's schema up to date");
        }
        found += 1;
    }
    Ok(())
}

/// What a reader does instead of migrating.
pub(crate) fn check(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let (application, found) = identity(db).map_err(StoreError::sql("read the schema's version", path))?;
    if application != APPLICATION_ID {
        return Err(StoreError::Foreign(path.to_owned()));
    }
    match found.cmp(&VERSION) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(StoreError::Newer { path: path.to_owned(), found, known: VERSION }),
        std::cmp::Ordering::Less => Err(StoreError::Older { path: path.to_owned(), found, needed: VERSION }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_schema_is_migrated_and_a_newer_one_refused() {
        let mut db = Connection::open_in_memory().unwrap();
        let path = Path::new("netlat.db");
        let first = "CREATE TABLE a (x INTEGER)";
        let second = "ALTER TABLE a ADD COLUMN y INTEGER NOT NULL DEFAULT 7";
        migrate_with(&mut db, path, &[script(first)]).unwrap();
        db.execute("INSERT INTO a VALUES (1)", []).unwrap();
        migrate_with(&mut db, path, &[script(first), script(second)]).unwrap();
        let y: i64 = db.query_row("SELECT y FROM a WHERE x = 1", [], |row| row.get(0)).unwrap();
        assert_eq!((y, identity(&db).unwrap()), (7, (APPLICATION_ID, 2)));
        let error = migrate_with(&mut db, path, &[script(first)]).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 2, known: 1, .. }), "{error}");
        assert!(error.to_string().contains("update netlat"));
    }

    #[test]
    fn a_failed_step_leaves_the_version_before_it() {
        let mut db = Connection::open_in_memory().unwrap();
        let scripts =
            [script("CREATE TABLE a (x INTEGER)"), script("CREATE TABLE b (x INTEGER); CREATE TABLE a (x INTEGER)")];
        assert!(migrate_with(&mut db, Path::new("netlat.db"), &scripts).is_err());
        let tables: u32 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
        assert_eq!((tables, identity(&db).unwrap().1), (1, 1));
    }

    #[test]
    fn records_of_an_older_schema_are_summed_up() {
        const AT_US: i64 = 1_790_000_000_000_000;
        let mut db = Connection::open_in_memory().unwrap();
        let path = Path::new("netlat.db");
        migrate_with(&mut db, path, &MIGRATIONS[..5]).unwrap();
        let step = db.transaction().unwrap();
        for counter in 1..=3 {
            step.execute(
                "INSERT INTO record (worker, boot, counter, library, language, version, metric, at_us, app_us, wait_us, \
                 target, flags) VALUES ('nyc1', 1, ?1, 'x 1', 'rust', '0', 'rest', ?2, ?1 * 1000, 0, '', '')",
                rusqlite::params![counter, AT_US],
            )
            .unwrap();
        }
        step.commit().unwrap();
        migrate_with(&mut db, path, MIGRATIONS).unwrap();
        let sums: Vec<(u8, i64)> = db
            .prepare("SELECT period, samples FROM record_rollup ORDER BY period")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<rusqlite::Result<_>>()
            .unwrap();
        assert_eq!(sums, [(0, 3), (1, 3)]);
        // Where they were summed up already, they are not a second time.
        let step = db.transaction().unwrap();
        record_rollup::sum_up(&step).unwrap();
        let again: i64 = step.query_row("SELECT sum(samples) FROM record_rollup", [], |row| row.get(0)).unwrap();
        assert_eq!(again, 6);
    }

    #[test]
    fn somebody_elses_database_is_left_alone() {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE theirs (x INTEGER)").unwrap();
        let error = migrate(&mut db, Path::new("other.db")).unwrap_err();
        assert!(matches!(error, StoreError::Foreign(_)), "{error}");
    }
}
