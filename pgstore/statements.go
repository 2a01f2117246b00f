package pgstore

import (
	"fmt"
	"strings"
	"time"
)

// statements is the SQL of a Store. All but schema are run in one trip each.
type statements struct {
	find, commit, delete        string
	create, replace, deleteOld  string
	exists                      string
	grant, createGrant          string
	replaceGrant, deleteGrant   string
	hasGrant, id, putID, dropID string
	sweep, sweepTurn            string
	present, schema, probe      string
	version, setVersion         string
}

// statementsFor fills in the names of the tables, and what stands in several
// statements.
//
// LIVE is asked of the clock at that moment and not of the begin of the
// transaction, because a statement may have waited for a row in between. A NULL
// is nothing that we have written: such a row is not absent, and reading it
// fails.
//
// INTIME bounds what a lock can delay. A client that was killed leaves its
// statement waiting for the lock. Without the bound it would take effect whenever the lock
// is released, say a create after a logout was forgotten. now() is the arrival of the
// statement, before it waits. bound is longer than any caller waits. A statement
// that is late fails when it has its row: a condition would not be asked again
// after waiting for somebody who gives up.
//
// Reads encode what they return. A bytea has a form that depends on bytea_output,
// a setting that a role or a database may have.
//
// NOREPLICA adds a row to what is read from a standby. That may not know a
// logout yet.
func statementsFor(table string, bound time.Duration) statements {
	words := strings.NewReplacer(
		"TABLE_GRANTS", identifier(table, "_grants"), "TABLE_IDS", identifier(table, "_ids"),
		"TABLE_SCHEMA", identifier(table, "_schema"), "TABLE_EXPIRES", identifier(table[strings.LastIndexByte(table, '.')+1:], "_expires"),
		"TABLE_SELF", identifier(table, ""),
		"LIVE", "(s.expires > clock_timestamp()) IS NOT FALSE",
		"INTIME", fmt.Sprintf("CASE WHEN clock_timestamp() < now() + interval '%d milliseconds' THEN 0 ELSE CAST('too late, at ' || clock_timestamp() AS integer) END", bound.Milliseconds()),
		"LATER", "clock_timestamp() + interval '1 microsecond' *",
		"NOREPLICA", "UNION ALL SELECT NULL, NULL WHERE pg_is_in_recovery()",
	)
	return statements{
		find: words.Replace(`SELECT s.key, CASE WHEN s.expires IS NULL THEN NULL ELSE encode(s.value, 'hex') END FROM TABLE_SELF AS s
			WHERE s.key = ANY ($1::text[]) AND LIVE NOREPLICA`),
		commit: words.Replace(`INSERT INTO TABLE_SELF AS s (key, value, expires) VALUES ($1::text, $2::bytea, LATER $3::bigint)
			ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires RETURNING INTIME`),
		delete: words.Replace(`DELETE FROM TABLE_SELF AS s WHERE s.key = $1::text RETURNING INTIME`),

		// A value that is stored already keeps its expiry, as if nothing were written.
		create: words.Replace(`INSERT INTO TABLE_SELF AS s (key, value, expires) VALUES ($1::text, $2::bytea, LATER $3::bigint)
			ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = CASE WHEN LIVE THEN s.expires ELSE excluded.expires END
			WHERE s.value = excluded.value OR NOT LIVE RETURNING INTIME`),
		replace: words.Replace(`UPDATE TABLE_SELF AS s
			SET value = $3::bytea, expires = CASE WHEN s.value = $3::bytea THEN s.expires ELSE LATER $4::bigint END
			WHERE s.key = $1::text AND s.value IN ($2::bytea, $3::bytea) AND LIVE RETURNING INTIME`),
		deleteOld: words.Replace(`DELETE FROM TABLE_SELF AS s WHERE s.key = $1::text AND (s.value = $2::bytea OR NOT LIVE) RETURNING INTIME`),
		exists:    words.Replace(`SELECT ''::text, ''::text FROM TABLE_SELF AS s WHERE s.key = $1::text AND LIVE NOREPLICA`),

		grant: words.Replace(`SELECT ''::text, encode(s.value, 'hex') FROM TABLE_GRANTS AS s WHERE s.place = $1::bytea NOREPLICA`),
		createGrant: words.Replace(`INSERT INTO TABLE_GRANTS AS s (place, value) VALUES ($1::bytea, $2::bytea)
			ON CONFLICT (place) DO UPDATE SET value = excluded.value WHERE s.value = excluded.value RETURNING INTIME`),
		replaceGrant: words.Replace(`UPDATE TABLE_GRANTS AS s SET value = $3::bytea
			WHERE s.place = $1::bytea AND s.value IN ($2::bytea, $3::bytea) RETURNING INTIME`),
		deleteGrant: words.Replace(`DELETE FROM TABLE_GRANTS AS s WHERE s.place = $1::bytea AND s.value = $2::bytea RETURNING INTIME`),
		hasGrant:    words.Replace(`SELECT ''::text, ''::text FROM TABLE_GRANTS AS s WHERE s.place = $1::bytea NOREPLICA`),

		id: words.Replace(`SELECT ''::text, encode(convert_to(s.id, 'UTF8'), 'hex') FROM TABLE_IDS AS s WHERE s.place = $1::bytea NOREPLICA`),
		// The update changes nothing. It makes the statement return the id of
		// another, also of one that was not there when the statement began.
		putID: words.Replace(`INSERT INTO TABLE_IDS AS s (place, id) VALUES ($1::bytea, $2::text)
			ON CONFLICT (place) DO UPDATE SET id = s.id RETURNING (INTIME)::text, encode(convert_to(s.id, 'UTF8'), 'hex')`),
		dropID: words.Replace(`DELETE FROM TABLE_IDS AS s WHERE s.place = $1::bytea AND s.id = $2::text RETURNING INTIME`),

		// The array is made once. What another replica is removing is not waited
		// for, and what somebody has just prolonged is seen as it is now.
		sweep: words.Replace(`DELETE FROM TABLE_SELF AS s WHERE s.key = ANY (ARRAY(
			SELECT e.key FROM TABLE_SELF AS e WHERE e.expires <= now() ORDER BY e.expires LIMIT $1::bigint FOR UPDATE SKIP LOCKED))`),
		// A time in the future is a clock that was wrong.
		sweepTurn: words.Replace(`UPDATE TABLE_SCHEMA AS s SET swept = now() WHERE s.one = ANY (ARRAY(SELECT e.one FROM TABLE_SCHEMA AS e
			WHERE e.swept <= now() - interval '1 microsecond' * $1::bigint OR e.swept > clock_timestamp() FOR UPDATE SKIP LOCKED))`),

		present: words.Replace(`SELECT to_regclass('TABLE_SELF') IS NOT NULL AND to_regclass('TABLE_GRANTS') IS NOT NULL
			AND to_regclass('TABLE_IDS') IS NOT NULL AND to_regclass('TABLE_SCHEMA') IS NOT NULL, to_regclass('TABLE_SCHEMA') IS NOT NULL`),
		// Sealed values do not get smaller, so the database need not try.
		schema: words.Replace(`
			CREATE TABLE IF NOT EXISTS TABLE_SELF (key text COLLATE "C" PRIMARY KEY, value bytea NOT NULL, expires timestamptz NOT NULL);
			ALTER TABLE TABLE_SELF ALTER COLUMN value SET STORAGE EXTERNAL;
			CREATE INDEX IF NOT EXISTS TABLE_EXPIRES ON TABLE_SELF (expires);
			CREATE TABLE IF NOT EXISTS TABLE_GRANTS (place bytea PRIMARY KEY, value bytea NOT NULL);
			CREATE TABLE IF NOT EXISTS TABLE_IDS (place bytea PRIMARY KEY, id text NOT NULL);
			CREATE TABLE IF NOT EXISTS TABLE_SCHEMA (one boolean PRIMARY KEY CHECK (one), version integer NOT NULL, swept timestamptz NOT NULL)`),
		// A table of that name that somebody else made would have other columns.
		probe: words.Replace(`SELECT FROM
			(SELECT key || '', value || ''::bytea, expires - now() FROM TABLE_SELF LIMIT 0) AS a,
			(SELECT place || ''::bytea, value || ''::bytea FROM TABLE_GRANTS LIMIT 0) AS b,
			(SELECT place || ''::bytea, id || '' FROM TABLE_IDS LIMIT 0) AS c`),
		version: words.Replace(`SELECT version FROM TABLE_SCHEMA`),
		setVersion: words.Replace(`INSERT INTO TABLE_SCHEMA (one, version, swept) VALUES (true, $1::integer, now())
			ON CONFLICT (one) DO UPDATE SET version = excluded.version`),
	}
}
