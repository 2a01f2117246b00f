package sqlitestore

import "strings"

// statements is the SQL of a Store. ?1 is the time, in microseconds since 1970.
type statements struct {
	find, commit, delete        string
	create, replace, deleteOld  string
	exists                      string
	grant, createGrant          string
	replaceGrant, deleteGrant   string
	hasGrant, id, putID, dropID string
	sweep, sweepTurn            string
	schema, probe               []string
	version, setVersion, tables string
}

// statementsFor fills in the names of the tables, and what stands in several
// statements.
//
// Reads return a key, a value, and whether the row is one that we have not
// written, because something is missing. Such a row is not absent: LIVE is true
// of a NULL.
//
// VALUE is there because some drivers pass an empty value as NULL.
func statementsFor(table string) statements {
	words := strings.NewReplacer(
		"TABLE_GRANTS", `"`+table+`_grants"`, "TABLE_IDS", `"`+table+`_ids"`, "TABLE_SCHEMA", `"`+table+`_schema"`,
		"TABLE_EXPIRES", `"`+table+`_expires"`, "TABLE_SELF", `"`+table+`"`,
		"LIVE", "(s.expires > ?1) IS NOT 0",
		"OLDVALUE", "coalesce(?3, x'')", "NEWVALUE", "coalesce(?4, x'')",
	)
	all := func(texts ...string) []string {
		for i := range texts {
			texts[i] = words.Replace(texts[i])
		}
		return texts
	}
	return statements{
		find: words.Replace(`SELECT s.key, s.value, s.value IS NULL OR s.expires IS NULL FROM TABLE_SELF AS s WHERE LIVE AND s.key IN (`),
		commit: words.Replace(`INSERT INTO TABLE_SELF (key, expires, value) VALUES (?2, ?3, NEWVALUE)
			ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires`),
		delete: words.Replace(`DELETE FROM TABLE_SELF WHERE key = ?2`),

		// A value that is stored already keeps its expiry, as if nothing were written.
		create: words.Replace(`INSERT INTO TABLE_SELF AS s (key, expires, value) VALUES (?2, ?3, NEWVALUE)
			ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = CASE WHEN LIVE THEN s.expires ELSE excluded.expires END
			WHERE s.value = excluded.value OR NOT (LIVE)`),
		replace: words.Replace(`UPDATE TABLE_SELF AS s SET value = NEWVALUE, expires = CASE WHEN s.value = NEWVALUE THEN s.expires ELSE ?5 END
			WHERE s.key = ?2 AND s.value IN (OLDVALUE, NEWVALUE) AND LIVE`),
		deleteOld: words.Replace(`DELETE FROM TABLE_SELF AS s WHERE s.key = ?2 AND (s.value = OLDVALUE OR NOT (LIVE))`),
		exists:    words.Replace(`SELECT '', x'', false FROM TABLE_SELF AS s WHERE s.key = ?2 AND LIVE`),

		grant: words.Replace(`SELECT '', value, value IS NULL FROM TABLE_GRANTS WHERE place = ?2 AND ?1`),
		createGrant: words.Replace(`INSERT INTO TABLE_GRANTS AS s (place, value) SELECT ?2, NEWVALUE WHERE ?1 AND ?3 IS NULL
			ON CONFLICT (place) DO UPDATE SET value = excluded.value WHERE s.value = excluded.value`),
		replaceGrant: words.Replace(`UPDATE TABLE_GRANTS SET value = NEWVALUE WHERE ?1 AND place = ?2 AND value IN (OLDVALUE, NEWVALUE)`),
		deleteGrant:  words.Replace(`DELETE FROM TABLE_GRANTS WHERE ?1 AND place = ?2 AND value = OLDVALUE`),
		hasGrant:     words.Replace(`SELECT '', x'', false FROM TABLE_GRANTS WHERE place = ?2 AND ?1`),

		id: words.Replace(`SELECT '', id, id IS NULL FROM TABLE_IDS WHERE place = ?2 AND ?1`),
		// The update changes nothing. It makes the statement return the id that is there.
		putID: words.Replace(`INSERT INTO TABLE_IDS AS s (place, id) SELECT ?2, ?3 WHERE ?1
			ON CONFLICT (place) DO UPDATE SET id = s.id RETURNING '', id, id IS NULL`),
		dropID: words.Replace(`DELETE FROM TABLE_IDS WHERE ?1 AND place = ?2 AND id = ?3`),

		sweep:     words.Replace(`DELETE FROM TABLE_SELF WHERE rowid IN (SELECT rowid FROM TABLE_SELF WHERE expires <= ?1 ORDER BY expires LIMIT ?2)`),
		sweepTurn: words.Replace(`UPDATE TABLE_SCHEMA SET swept = ?1 WHERE swept <= ?2 OR swept > ?1`), // a time in the future is a clock that was wrong

		schema: all(
			`CREATE TABLE IF NOT EXISTS TABLE_SELF (key TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL, expires INTEGER NOT NULL) STRICT`,
			`CREATE INDEX IF NOT EXISTS TABLE_EXPIRES ON TABLE_SELF (expires)`,
			`CREATE TABLE IF NOT EXISTS TABLE_GRANTS (place BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT`,
			`CREATE TABLE IF NOT EXISTS TABLE_IDS (place BLOB NOT NULL PRIMARY KEY, id BLOB NOT NULL) STRICT`,
			`CREATE TABLE IF NOT EXISTS TABLE_SCHEMA (one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL, swept INTEGER NOT NULL) STRICT`),
		// A table of that name that somebody else made has other columns.
		probe: all(
			`SELECT s.rowid, s.key, s.value, s.expires FROM TABLE_SELF AS s LIMIT 0`,
			`SELECT s.place, s.value FROM TABLE_GRANTS AS s LIMIT 0`,
			`SELECT s.place, s.id FROM TABLE_IDS AS s LIMIT 0`),
		tables:     `SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND lower(name) IN (lower(?1), lower(?1 || '_grants'), lower(?1 || '_ids'), lower(?1 || '_schema'))`,
		version:    words.Replace(`SELECT version FROM TABLE_SCHEMA`),
		setVersion: words.Replace(`INSERT INTO TABLE_SCHEMA (one, version, swept) VALUES (1, ?1, 0) ON CONFLICT (one) DO UPDATE SET version = excluded.version`),
	}
}
