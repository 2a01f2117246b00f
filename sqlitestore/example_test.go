package sqlitestore_test

import (
	"context"
	"database/sql"
	"log"
	"os"

	_ "modernc.org/sqlite" // or another driver for database/sql

	"example.com/gatehouse"
	"example.com/gatehouse/sqlitestore"
)

func Example() {
	db, err := sql.Open("sqlite", "file:/var/lib/notes/sessions.db")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	store, err := sqlitestore.New(db, sqlitestore.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	if err := store.Migrate(context.Background()); err != nil {
		log.Fatal(err)
	}
	sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{
		Store: store,
		Keys:  []gatehouse.Secret{gatehouse.NewSecret(os.Getenv("SESSION_KEY"))}, // openssl rand -base64 32
	})
	if err != nil {
		log.Fatal(err)
	}
	_ = sessions // RelyingPartyConfig.Sessions
}
