package redisstore_test

import (
	"log"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/gatehouse"
	"example.com/gatehouse/redisstore"
)

func Example() {
	client := redis.NewClient(&redis.Options{Addr: "redis.internal:6379", ContextTimeoutEnabled: true})
	defer client.Close()
	store, err := redisstore.New(client, redisstore.Config{Prefix: "notes:"})
	if err != nil {
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

// On Sentinel a write is answered when a replica has it.
func ExampleConfig_waitReplicas() {
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: "sessions", SentinelAddrs: []string{"sentinel-1:26379", "sentinel-2:26379", "sentinel-3:26379"},
		ContextTimeoutEnabled: true,
		DialTimeout:           2 * time.Second, // ReadTimeout has to be over first, so that a Sentinel that hangs is left
		ReadTimeout:           time.Second,
	})
	defer client.Close()
	store, err := redisstore.New(client, redisstore.Config{Prefix: "notes:", WaitReplicas: 1})
	if err != nil {
		log.Fatal(err)
	}
	_ = store // SessionsConfig.Store
}
