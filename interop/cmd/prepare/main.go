// Prepare installs what the interop tests need, by name, ahead of time: npm's
// oidc-provider, express-openid-connect and axe-core, Keycloak from Maven
// Central, built and with its realms imported, Apache with mod_auth_openidc and
// Chromium if there is none. It prints the seconds of each. What is there
// already costs nothing, and tests that run meanwhile wait for it.
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
