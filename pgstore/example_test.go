package pgstore_test

import (
	"context"
	"log"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"

	"example.com/gatehouse"
	"example.com/gatehouse/pgstore"
)

func Example() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "postgres://notes@db.example.org/notes?connect_timeout=1")
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	store, err := pgstore.New(pool, pgstore.Config{Table: "notes_sessions"})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	if err := store.Migrate(ctx); err != nil {
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
