package reliability

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"example.com/gatehouse/internal/testkit/backing"
	"example.com/gatehouse/interop/reliability/site"
)

// The stores.
const (
	onRedis    = "redis"
	onPostgres = "postgres"
)

// Stores are those on which the goals that need both are run.
func Stores() []string { return []string{onRedis, onPostgres} }

// Database is a real store with toxiproxy in front.
type Database struct {
	Toxic    *Toxic
	Redis    *backing.Redis // or
	Postgres *backing.Postgres

	prefix string
	client *redis.Client // past toxiproxy
}

// openDatabase starts a server.
func openDatabase(ctx context.Context, kind string) (d *Database, err error) {
	d = &Database{prefix: "site_"}
	defer func() {
		if err != nil {
			_ = d.Close()
			d = nil
		}
	}()
	var addr string
	switch kind {
	case onRedis:
		d.prefix = "site:"
		if d.Redis, err = backing.StartRedis(ctx, backing.RedisConfig{Settings: []string{"appendfsync everysec", redisBacklog}}); err != nil {
			return d, err
		}
		addr = d.Redis.Addr
		d.client = redis.NewClient(&redis.Options{Addr: addr})
	case onPostgres:
		if d.Postgres, err = backing.StartPostgres(ctx, backing.PostgresConfig{}); err != nil {
			return d, err
		}
		addr = d.Postgres.Addr()
	default:
		return d, fmt.Errorf("no store is called %q", kind)
	}
	d.Toxic, err = newToxic(addr)
	return d, err
}

// Close ends the server.
func (d *Database) Close() error {
	var errs []error
	if d.client != nil {
		errs = append(errs, d.client.Close())
	}
	if d.Toxic != nil {
		d.Toxic.Down()
	}
	if d.Redis != nil {
		errs = append(errs, d.Redis.Close())
	}
	if d.Postgres != nil {
		errs = append(errs, d.Postgres.Close())
	}
	return errors.Join(errs...)
}

// point makes a replica use the store, through toxiproxy.
func (d *Database) point(c *site.Config) {
	if d.Redis != nil {
		c.Redis = d.Toxic.Addr
		return
	}
	u, err := url.Parse(d.Postgres.DSN())
	if err == nil {
		u.Host = d.Toxic.Addr
		query := u.Query()
		query.Set("pool_max_conns", strconv.Itoa(poolSize))
		u.RawQuery = query.Encode()
		c.Postgres = u.String()
	}
}

// redisBacklog lets a Redis that is stopped keep every connection of half a
// minute waiting. toxiproxy opens the next one only when the last is open, so
// with the default of 511 it would be stuck in a retry of TCP for some seconds
// after the Redis goes on.
const redisBacklog = "tcp-backlog 4096"

// poolSize is how many connections a replica may have to PostgreSQL.
const poolSize = 16

// restart ends the server, leaves it down for a time, and starts it again.
func (d *Database) restart(ctx context.Context, down func() error) error {
	if d.Redis != nil {
		d.Redis.Stop()
	} else {
		d.Postgres.Stop(backing.Fast)
	}
	if err := down(); err != nil {
		return err
	}
	if d.Redis != nil {
		return d.Redis.Restart(ctx)
	}
	return d.Postgres.Restart(ctx)
}

// lock takes a lock of the whole table, as somebody's ALTER TABLE does, until
// free is called.
func (d *Database) lock(ctx context.Context) (free func() error, err error) {
	c, err := pgx.Connect(ctx, d.Postgres.DSN())
	if err != nil {
		return nil, err
	}
	tables, err := d.tables(ctx, c)
	if err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	tx, err := c.Begin(ctx)
	if err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	if _, err := tx.Exec(ctx, "LOCK TABLE "+strings.Join(tables, ", ")+" IN ACCESS EXCLUSIVE MODE"); err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	return func() error { return errors.Join(tx.Rollback(ctx), c.Close(ctx)) }, nil
}

// tables lists all tables of ours.
func (d *Database) tables(ctx context.Context, c *pgx.Conn) ([]string, error) {
	rows, err := c.Query(ctx, "SELECT quote_ident(schemaname)||'.'||quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// entries counts what the store keeps.
func (d *Database) entries(ctx context.Context) (n int, err error) {
	if d.Redis != nil {
		size, err := d.client.DBSize(ctx).Result()
		return int(size), err
	}
	c, err := pgx.Connect(ctx, d.Postgres.DSN())
	if err != nil {
		return 0, err
	}
	defer c.Close(ctx)
	tables, err := d.tables(ctx, c)
	if err != nil {
		return 0, err
	}
	for _, table := range tables {
		var rows int
		if err := c.QueryRow(ctx, "SELECT count(*) FROM "+table).Scan(&rows); err != nil {
			return 0, err
		}
		n += rows
	}
	return n, nil
}

// writes counts the commands and rows that the store has written so far.
func (d *Database) writes(ctx context.Context) (int, error) {
	if d.Redis != nil {
		return d.redisWrites(ctx)
	}
	c, err := pgx.Connect(ctx, d.Postgres.DSN())
	if err != nil {
		return 0, err
	}
	defer c.Close(ctx)
	var n int
	err = c.QueryRow(ctx, "SELECT coalesce(sum(n_tup_ins+n_tup_upd+n_tup_del), 0)::bigint FROM pg_stat_user_tables").Scan(&n)
	return n, err
}

// redisWrites counts the commands that change something. Scripts count as
// writes: the store reads by plain commands.
func (d *Database) redisWrites(ctx context.Context) (n int, err error) {
	text, err := d.client.Info(ctx, "commandstats").Result()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		// cmdstat_set:calls=3,usec=…
		name, rest, found := strings.Cut(strings.TrimSpace(line), ":calls=")
		name = strings.TrimPrefix(name, "cmdstat_")
		switch name {
		case "set", "setex", "psetex", "setnx", "del", "unlink", "pexpire", "expire", "pexpireat", "expireat", "eval", "evalsha", "fcall", "multi":
		default:
			continue
		}
		calls, _, _ := strings.Cut(rest, ",")
		if count, err := strconv.Atoi(calls); found && err == nil {
			n += count
		}
	}
	return n, nil
}

// resident returns the resident memory of a process in bytes.
func resident(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("no VmRSS")
}

// answers reports whether something listens at an address.
func answers(addr string) bool {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return false
	}
	return c.Close() == nil
}
