package gatehouse

// Tested in internal/e2e/signin, internal/e2e/api.

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

const (
	// tenantPlace stands in an issuer in the place of the tenant, as Entra ID
	// writes it.
	tenantPlace = "{tenantid}"
	// maxTenant is the longest name of a tenant. A GUID has 36 characters.
	maxTenant = 64
)

// issuersOf returns the issuers of a template, by tenant. It is nil without
// tenants.
func issuersOf(template string, tenants []string) map[string]string {
	if len(tenants) == 0 {
		return nil
	}
	issuers := make(map[string]string, len(tenants))
	for _, tenant := range tenants {
		issuers[tenant] = strings.Replace(template, tenantPlace, tenant, 1)
	}
	return issuers
}

// issuers are those whose tokens the provider's verifier accepts, sorted.
func (p *Provider) issuers() []string {
	if p.tenants == nil {
		return []string{p.issuer}
	}
	return slices.Sorted(maps.Values(p.tenants))
}

// tenants checks the template and who may fill it.
func (w *problems) tenants(c *ProviderConfig, issuer string) {
	if !strings.ContainsAny(issuer, "{}") {
		if len(c.Tenants) > 0 {
			w.add("Tenants", "the issuer has no %s in its path", tenantPlace)
		}
		return
	}
	before, after, _ := strings.Cut(issuer, tenantPlace)
	switch {
	case strings.ContainsAny(before+after, "{}"), strings.Count(before, "/") < 3, !strings.HasSuffix(before, "/"), after != "" && after[0] != '/':
		w.add("issuer", "it has braces, but not %s as one segment of its path", tenantPlace)
	case len(c.Tenants) == 0:
		w.add("Tenants", "empty: the issuer is a template, and no tenant would be accepted")
	case c.MetadataURL == "" && c.Metadata == nil:
		w.add("issuer", "it is a template, from which no metadata can be fetched: set MetadataURL or Metadata")
	}
	seen := make(map[string]bool, len(c.Tenants))
	for i, tenant := range c.Tenants {
		field := fmt.Sprintf("Tenants[%d]", i)
		switch {
		case tenant == "" || len(tenant) > maxTenant || strings.Trim(tenant, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
			w.add(field, "%q is not written as the claim tid is: 1 to %d of a-z, 0-9 and -", clip(tenant), maxTenant)
		case seen[tenant]:
			w.add(field, "%q is there twice", tenant)
		}
		seen[tenant] = true
	}
}

// noTenants refuses a template for what has no tenants.
func (w *problems) noTenants(p *Provider, what string) {
	if p != nil && p.tenants != nil {
		w.add("provider", "its issuer is a template with tenants, and %s is at one server", what)
	}
}
