//go:build unix

// Command example runs the photo site on replicas that share a SQLite file:
//
//	go run -C sqlitestore ./example -replicas 2
//
// It makes a file for itself, or takes the one that -addr names.
package main

import (
	"context"
	"database/sql"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver

	"example.com/gatehouse/example/replicas"
	"example.com/gatehouse/sqlitestore"
)

func main() {
	replicas.Main(replicas.Kind{
		Name:  "SQLite",
		Addr:  "a file, which is made if it is not there; go run -C sqlitestore looks for it from there;\nempty makes one for the time of the example",
		Begin: begin,
		Open:  open,
	})
}

// begin needs no server, only a place for the file.
func begin(context.Context) (addr string, end func(), err error) {
	dir, err := os.MkdirTemp("", "gatehouse-example-")
	if err != nil {
		return "", nil, err
	}
	return filepath.Join(dir, "photos.db"), func() { _ = os.RemoveAll(dir) }, nil
}

// open is what a program of yours does, too. The one process that starts the
// replicas calls Migrate before.
func open(_ context.Context, addr string) (replicas.Store, func(), error) {
	file, err := filepath.Abs(addr)
	if err != nil {
		return nil, nil, err
	}
	// The file holds secrets, and SQLite would let everybody read it.
	made, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	if err := made.Close(); err != nil {
		return nil, nil, err
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: file}).String())
	if err != nil {
		return nil, nil, err
	}
	store, err := sqlitestore.New(db, sqlitestore.Config{Table: "photos"})
	if err != nil {
		return nil, nil, err
	}
	return store, func() {
		_ = store.Close()
		_ = db.Close()
	}, nil
}
