// Prepare installs what the interop tests need, by name and ahead of time:
// npm's oidc-provider, express-openid-connect and axe-core; Dex from its Go
// module; Keycloak from Maven Central, built and with its realms imported; and Apache with mod_auth_openidc,
// Chromium, Redis, PostgreSQL, PgBouncer, Glewlwyd and LemonLDAP::NG if they are missing. It prints
// how many seconds each took. What is already there takes no time, and tests that run in the meantime wait.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"example.com/gatehouse/interop/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := servers.Install(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "prepare:", err)
		os.Exit(1)
	}
}
