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
	check(t, s.suite, s, registrationParts())
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

// registrationParts lists the contract of gatehouse.RegistrationStore.
func registrationParts() []part[*grantRun] {
	return []part[*grantRun]{
		{"absent", "at the first start nothing is registered, and that is not an error", nil, noGrantCase},
		{"swap creates", "of many replicas one may register, and the others must see that", nil, newGrantCase},
		{"swap replaces", "a slow replica must not overwrite the secret that another has got", nil, nextGrantCase},
		{"swap deletes", "deleting an old value must not delete the one after it", nil, lostGrantCase},
		{"swap is repeated", "clients repeat a command when its reply was lost (false would leave a client behind at the provider)", nil, sameGrantCase},
		{"names apart", "two applications in one store must never use each other's client", nil, namesCase},
		{"bytes", "sealed values are any bytes", nil, grantBytesCase},
		{"size", "values have up to 60,000 bytes", nil, grantSizeCase},
		{"own copies", "a caller may change its slices afterwards", nil, grantCopiesCase},
		{"what was read stays", "a renewal compares the value as it read it, seconds later", nil, grantReadCase},
		{"nothing expires", "a client that is forgotten stays at the provider", hasClock, grantAgeCase},
		{"one creates", "only one of many replicas may register", nil, func(ctx context.Context, s *grantRun) error { return oneCreates(ctx, s.fresh) }},
		{"one replaces", "only one of many replicas renews a secret", nil, func(ctx context.Context, s *grantRun) error { return oneReplaces(ctx, s.fresh) }},
		{"never away", "a replica that reads while another writes would register once more", nil,
			func(ctx context.Context, s *grantRun) error { return neverAway(ctx, s.fresh) }},
		{"no lost update", "a replica that loses must know it, or it uses a secret that is gone", nil,
			func(ctx context.Context, s *grantRun) error { return s.noUpdateLost(ctx, s.fresh) }},
		{"no lost update with lost replies", "a repeated command neither fails nor counts twice", nil,
			func(ctx context.Context, s *grantRun) error { return noUpdateLostWithReplies(ctx, s.fresh) }},
		{"all at once", "all methods are called at the same time", nil, grantRaceCase},
		{"cancelled context", "a request whose client has left must not wait", nil, func(ctx context.Context, s *grantRun) error {
			return steps(func() error { return endsWithContext(ctx, s.calls()) }, func() error { return s.works(ctx) })
		}},
		{"deadline", "the reply to a call that was given up must never be taken for that of the next", nil,
			func(ctx context.Context, s *grantRun) error { return givesUp(ctx, s.fresh) }},
		{"hang", "strangers are answered 503 when the store hangs, and served when it is back", nil,
			func(ctx context.Context, s *grantRun) error { return s.hangs(ctx, s.calls(), s.works) }},
		{"two processes", "replicas are processes", isShared, registrationProcessCase},
	}
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
