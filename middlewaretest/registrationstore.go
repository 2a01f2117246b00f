package middlewaretest

import (
	"context"
	"fmt"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/storekey"
)

// TestRegistrationStore checks that a store meets the contract of
// [gatehouse.RegistrationStore]. Each part of the contract is a subtest, and a
// failure says what goes wrong with registered clients if the part does not hold.
// open opens the store once. Names are random, so the store need not be empty.
// Run it with the race detector.
func TestRegistrationStore(t *testing.T, open func(t *testing.T) gatehouse.RegistrationStore, options ...StoreOption) {
	t.Helper()
	s := &grantRun{registrations{open(t)}, newSuite(options...)}
	check(t, s.suite, s, registrationParts(), nil)
}

// registrations is a RegistrationStore in the form in which the cases of grants
// ask it: both keep values of the same kind.
type registrations struct{ gatehouse.RegistrationStore }

// registrationName is a name as a Registration makes it.
func registrationName(issuer, owner string) string {
	sum := storekey.Place("registration contract", issuer, owner)
	return storekey.Of("registration contract", fmt.Sprintf("%x", sum))
}

func (r registrations) Grant(ctx context.Context, issuer, owner string) ([]byte, error) {
	return r.Registration(ctx, registrationName(issuer, owner))
}

func (r registrations) SwapGrant(ctx context.Context, issuer, owner string, old, new []byte) (bool, error) {
	return r.SwapRegistration(ctx, registrationName(issuer, owner), old, new)
}

// registrationParts lists the contract of gatehouse.RegistrationStore: that of
// grants, with what comes of it for registered clients.
func registrationParts() []part[*grantRun] {
	whys := map[string]string{
		"absent":              "at the first start nothing is registered, and that is not an error",
		"swap creates":        "of many replicas one may register, and the others must see that",
		"swap replaces":       "a slow replica must not overwrite the secret that another has got",
		"swap deletes":        "deleting an old value must not delete the one after it",
		"swap is repeated":    "clients repeat a command when its reply was lost (false would leave a client behind at the provider)",
		"bytes":               "sealed values are any bytes",
		"size":                "values have up to 60,000 bytes",
		"what was read stays": "a renewal compares the value as it read it, seconds later",
		"nothing expires":     "a client that is forgotten stays at the provider",
		"one creates":         "only one of many replicas may register",
		"one replaces":        "only one of many replicas renews a secret",
		"one ends":            "deleting a client must not delete the one that has taken its place",
		"neighbours":          "applications that register at the same moment must not undo each other",
		"the caller leaves":   "a client outlives the request that registered it",
		"at once on all":      "a replica must use the secret that another has got",
		"never away":          "a replica that reads while another writes would register once more",
		"no lost update":      "a replica that loses must know it, or it uses a secret that is gone",
	}
	parts := grantParts()
	for i, p := range parts {
		if why, own := whys[p.name]; own {
			parts[i].why = why
		}
		switch p.name {
		case "owners apart":
			parts[i] = part[*grantRun]{"names apart", "two applications in one store must never use each other's client", nil, namesCase}
		case "two processes":
			parts[i].run = registrationProcessCase
		case "at once on all":
			parts[i].run = registrationAtOnceCase
		case "a process dies":
			parts[i].run = registrationDeathCase
		}
	}
	return parts
}

// namesCase keeps values under names that a store might confuse: they differ in
// the case of a letter alone, or in their last one.
func namesCase(ctx context.Context, s *grantRun) error {
	store := s.GrantStore.(registrations).RegistrationStore
	name := "aZ" + s.key()[2:]
	names := []string{name, "AZ" + name[2:], "az" + name[2:], name[:len(name)-1] + "-", name[:len(name)-1] + "_"}
	at := func(name string) cell {
		return cell{
			func(ctx context.Context) ([]byte, error) { return store.Registration(ctx, name) },
			func(ctx context.Context, old, new []byte) (bool, error) {
				return store.SwapRegistration(ctx, name, old, new)
			},
		}
	}
	for i, name := range names {
		value := fmt.Appendf(nil, "client %d", i)
		if err := at(name).swaps(ctx, nil, value, true, value); err != nil {
			return fmt.Errorf("name %q: %w", name, err)
		}
	}
	for i, name := range names {
		if err := at(name).holds(ctx, fmt.Appendf(nil, "client %d", i)); err != nil {
			return fmt.Errorf("name %q: %w", name, err)
		}
	}
	return nil
}

func registrationProcessCase(ctx context.Context, s *grantRun) error {
	issuer := s.issuer()
	return s.countsWithProcesses(ctx, "registration", issuer, s.cell(issuer, "owner"))
}

func registrationDeathCase(ctx context.Context, s *grantRun) error {
	return s.survivesDeaths(ctx, "registration", func() (string, cell) { issuer := s.issuer(); return issuer, s.cell(issuer, "owner") })
}

func registrationAtOnceCase(ctx context.Context, s *grantRun) error {
	issuer := s.issuer()
	return s.seesAtOnce(ctx, "registration", issuer, s.cell(issuer, "owner"))
}
