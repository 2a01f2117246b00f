package gatehouse

import (
	"context"
	"time"

	"example.com/gatehouse/internal/backchannel"
)

// KeepGrant is what a sign-in does with the token answer that it got.
func (g *OwnerGrants) KeepGrant(ctx context.Context, owner, access, refresh, scope string, requested, expires time.Time) error {
	return g.keep(ctx, owner, &backchannel.Tokens{Access: access, Refresh: refresh, Scope: scope, HasScope: scope != "", Requested: requested, Expires: expires})
}

// GrantScopes is what a sign-in asks for in addition.
func (g *OwnerGrants) GrantScopes(ctx context.Context) []string { return g.scopes(ctx) }
