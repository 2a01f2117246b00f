package middlewaretest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
)

// simpleGrants is a GrantStore that tests break. Each field is one way to break
// it.
type simpleGrants struct {
	mu sync.Mutex
	gap
	values map[string][]byte
	born   map[string]time.Time
	clock  *Clock

	notAtomic, falseWhenOurs, ignoresOld, deletesUnseen bool // in a swap
	nilIsAnything, absentIsEmpty, neverGone             bool // the meaning of nil
	aliasIn, inPlace, textOnly, cutsAt255, comparesJSON bool // the bytes
	joinsKeys, foldsKeys, trimsKeys, ignoresIssuer      bool // whose grant it is
	expires, errorWhenAbsent                            bool
	deletesLater                                        bool          // a swap that deletes does so in a step of its own
	writesAll                                           bool          // each write replaces all that is kept
	boundToCaller                                       bool          // a grant goes when the context of its writer ends
	deletesFirst                                        bool          // a swap removes the old value in a step of its own
	mixesReplies                                        bool          // a call that was given up leaves its reply to the next
	remembersDone                                       bool          // what has been done once is taken for done for ever
	stuck                                               chan struct{} // all calls wait for it; nil for none
	left                                                [][]byte      // replies that nobody took
	done                                                map[string]bool
}

func newSimpleGrants() *simpleGrants {
	return &simpleGrants{values: map[string][]byte{}, done: map[string]bool{}, born: map[string]time.Time{}, clock: &Clock{now: time.Unix(1_800_000_000, 0)}}
}

func (s *simpleGrants) key(issuer, owner string) string {
	switch {
	case s.joinsKeys:
		return issuer + owner
	case s.ignoresIssuer:
		return owner
	case s.trimsKeys:
		owner = strings.TrimSpace(owner)
	case s.foldsKeys:
		owner = strings.ToLower(owner)
	}
	return fmt.Sprintf("%q %q", issuer, owner)
}

// get and same are called with the lock held.
func (s *simpleGrants) get(key string) []byte {
	if s.expires && s.clock.Now().Sub(s.born[key]) > 24*time.Hour {
		return nil
	}
	return s.values[key]
}

func (s *simpleGrants) same(a, b []byte) bool {
	if s.comparesJSON {
		a, b = bytes.ReplaceAll(a, []byte(" "), nil), bytes.ReplaceAll(b, []byte(" "), nil)
	}
	return (a == nil) == (b == nil) && bytes.Equal(a, b)
}

func (s *simpleGrants) Grant(ctx context.Context, issuer, owner string) ([]byte, error) {
	if s.stuck != nil {
		<-s.stuck
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.get(s.key(issuer, owner))
	if s.mixesReplies && ctx.Err() != nil {
		s.left = append(s.left, v)
		return nil, ctx.Err()
	}
	switch {
	case len(s.left) > 0:
		v, s.left = s.left[0], s.left[1:]
		return v, nil
	case v == nil && s.errorWhenAbsent:
		return nil, fmt.Errorf("no such owner")
	case v == nil && s.absentIsEmpty:
		return []byte{}, nil
	}
	return v, nil
}

func (s *simpleGrants) SwapGrant(ctx context.Context, issuer, owner string, old, new []byte) (swapped bool, err error) {
	if s.stuck != nil {
		<-s.stuck
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun++
	if s.boundToCaller {
		context.AfterFunc(ctx, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.values, s.key(issuer, owner))
		})
	}
	if s.writesAll {
		all := maps.Clone(s.values)
		s.others(&s.mu)
		s.values = all
	}
	key := s.key(issuer, owner)
	if what := fmt.Sprintf("%q %q %q", key, old, new); s.remembersDone {
		if s.done[what] {
			return true, nil
		}
		defer func() { s.done[what] = swapped }()
	}
	kept := s.get(key)
	if s.notAtomic {
		s.others(&s.mu)
	}
	switch {
	case s.same(kept, new) && !s.falseWhenOurs:
		return true, nil
	case s.same(kept, old), s.ignoresOld && old != nil && kept != nil, s.deletesUnseen && new == nil, s.nilIsAnything && old == nil:
		if s.deletesFirst {
			s.put(key, nil)
			s.others(&s.mu)
		}
		if s.deletesLater && new == nil {
			s.others(&s.mu)
		}
		s.put(key, new)
		return true, nil
	}
	return false, nil
}

func (s *simpleGrants) put(key string, value []byte) {
	if value == nil {
		if !s.neverGone {
			delete(s.values, key)
		}
		return
	}
	if s.textOnly {
		value, _, _ = bytes.Cut(value, []byte{0})
	}
	if s.cutsAt255 {
		value = value[:min(len(value), 255)]
	}
	if before := s.values[key]; s.inPlace && len(before) == len(value) {
		copy(before, value)
		return
	}
	if !s.aliasIn {
		value = bytes.Clone(value)
	}
	s.values[key], s.born[key] = value, s.clock.Now()
}

// TestTheSuiteFailsBrokenGrantStores breaks a good store in one way at a time.
func TestTheSuiteFailsBrokenGrantStores(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(*simpleGrants)
		fails string // at least these parts fail; "" for none
	}{
		"good":                             {func(*simpleGrants) {}, ""},
		"swap is not atomic":               {func(s *simpleGrants) { s.notAtomic = true }, "one creates, one replaces, no lost update"},
		"swap deletes first":               {func(s *simpleGrants) { s.deletesFirst = true }, "never away"},
		"replies are mixed up":             {func(s *simpleGrants) { s.mixesReplies = true }, "deadline"},
		"swap says false when already so":  {func(s *simpleGrants) { s.falseWhenOurs = true }, "swap is repeated, no lost update with lost replies"},
		"swap does not look at the old":    {func(s *simpleGrants) { s.ignoresOld = true }, "swap replaces, no lost update"},
		"swap deletes unseen":              {func(s *simpleGrants) { s.deletesUnseen = true }, "swap deletes"},
		"a nil old means whatever is kept": {func(s *simpleGrants) { s.nilIsAnything = true }, "swap creates, one creates"},
		"absence is an empty value":        {func(s *simpleGrants) { s.absentIsEmpty = true }, "absent"},
		"absence is an error":              {func(s *simpleGrants) { s.errorWhenAbsent = true }, "absent"},
		"a nil new does not delete":        {func(s *simpleGrants) { s.neverGone = true }, "swap deletes"},
		"stored slices are the caller's":   {func(s *simpleGrants) { s.aliasIn = true }, "own copies"},
		"values are texts":                 {func(s *simpleGrants) { s.textOnly = true }, "bytes"},
		"values are short":                 {func(s *simpleGrants) { s.cutsAt255 = true }, "size"},
		"values are compared as JSON":      {func(s *simpleGrants) { s.comparesJSON = true }, "bytes"},
		"issuer and owner run together":    {func(s *simpleGrants) { s.joinsKeys = true }, "owners apart"},
		"owners are compared without case": {func(s *simpleGrants) { s.foldsKeys = true }, "owners apart"},
		"owners are trimmed":               {func(s *simpleGrants) { s.trimsKeys = true }, "owners apart"},
		"the issuer is not looked at":      {func(s *simpleGrants) { s.ignoresIssuer = true }, "owners apart"},
		"a deletion is not atomic":         {func(s *simpleGrants) { s.deletesLater = true }, "one ends"},
		"a write replaces all":             {func(s *simpleGrants) { s.writesAll = true }, "neighbours"},
		"a grant goes with its writer":     {func(s *simpleGrants) { s.boundToCaller = true }, "the caller leaves"},
		"what was done is done for ever":   {func(s *simpleGrants) { s.remembersDone = true }, "swap creates, swap replaces, swap deletes"},
		"grants expire":                    {func(s *simpleGrants) { s.expires = true }, "nothing expires"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := newSimpleGrants()
			c.spoil(store)
			s := &grantRun{store, newSuite(StoreClock(store.clock.Now, store.clock.Advance), inMemory)}
			wantFailing(t, failing(t, s.suite, s, grantParts(), c.fails), c.fails)
		})
	}
}

// TestOverwritingInPlaceIsSeen is a separate test because the race detector
// sees the fault too.
func TestOverwritingInPlaceIsSeen(t *testing.T) {
	t.Parallel()
	store := newSimpleGrants()
	store.inPlace = true
	s := &grantRun{store, newSuite()}
	wantFailing(t, failing(t, s.suite, s, grantParts(), "what was read stays"), "what was read stays")
}

// simpleIDs is a ResourceIDs that tests break.
type simpleIDs struct {
	mu sync.Mutex
	gap
	ids   map[string]string
	born  map[string]time.Time
	clock *Clock

	putNotAtomic, dropNotAtomic, overwrites, givesOwn bool
	dropsAny, dropOtherFails, neverDrops              bool
	joinsKeys, foldsKeys, ignoresOwner, serviceIsAll  bool
	foldsIDs, cutsAt255, expires, errorWhenAbsent     bool
	mixesReplies                                      bool
	writesAll, boundToCaller, dropsPatterns           bool
	remembersPut                                      bool
	winners                                           map[string]string // what each put has returned
	left                                              []string          // replies that nobody took
	stuck                                             chan struct{}
}

func newSimpleIDs() *simpleIDs {
	return &simpleIDs{ids: map[string]string{}, winners: map[string]string{}, born: map[string]time.Time{}, clock: &Clock{now: time.Unix(1_800_000_000, 0)}}
}

func (s *simpleIDs) key(issuer, owner, name string) string {
	switch {
	case s.joinsKeys:
		return issuer + owner + name
	case s.ignoresOwner:
		owner = ""
	case s.foldsKeys:
		name = strings.ToLower(name)
	}
	return fmt.Sprintf("%q %q %q", issuer, owner, name)
}

func (s *simpleIDs) lock() {
	if s.stuck != nil {
		<-s.stuck
	}
	s.mu.Lock()
	s.begun++
}

// get is called with the lock held.
func (s *simpleIDs) get(key string) string {
	if s.expires && s.clock.Now().Sub(s.born[key]) > 24*time.Hour {
		return ""
	}
	return s.ids[key]
}

func (s *simpleIDs) ID(ctx context.Context, issuer, owner, name string) (string, error) {
	s.lock()
	defer s.mu.Unlock()
	id := s.get(s.key(issuer, owner, name))
	switch {
	case s.mixesReplies && ctx.Err() != nil:
		s.left = append(s.left, id)
		return "", ctx.Err()
	case len(s.left) > 0:
		id, s.left = s.left[0], s.left[1:]
		return id, nil
	}
	if id == "" && s.serviceIsAll {
		id = s.get(s.key(issuer, "", name))
	}
	if id == "" && s.errorWhenAbsent {
		return "", fmt.Errorf("no rows")
	}
	return id, nil
}

func (s *simpleIDs) PutIfAbsent(ctx context.Context, issuer, owner, name, id string) (winner string, err error) {
	s.lock()
	defer s.mu.Unlock()
	key := s.key(issuer, owner, name)
	if s.remembersPut {
		if winner := s.winners[key+id]; winner != "" {
			return winner, nil
		}
		defer func() { s.winners[key+id] = winner }()
	}
	if s.boundToCaller {
		context.AfterFunc(ctx, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.ids, key)
		})
	}
	if s.writesAll {
		all := maps.Clone(s.ids)
		s.others(&s.mu)
		s.ids = all
	}
	kept := s.get(key)
	if s.putNotAtomic {
		s.others(&s.mu)
	}
	if kept != "" && !s.overwrites {
		if s.givesOwn {
			return id, nil
		}
		return kept, nil
	}
	if s.foldsIDs {
		id = strings.ToLower(id)
	}
	if s.cutsAt255 {
		id = id[:min(len(id), 255)]
	}
	s.ids[key], s.born[key] = id, s.clock.Now()
	return id, nil
}

func (s *simpleIDs) Drop(_ context.Context, issuer, owner, name, id string) error {
	s.lock()
	defer s.mu.Unlock()
	key := s.key(issuer, owner, name)
	same := s.get(key) == id || s.dropsAny || s.dropsPatterns && id == "%"
	if s.dropNotAtomic {
		s.others(&s.mu)
	}
	switch {
	case !same && s.dropOtherFails:
		return fmt.Errorf("no rows affected")
	case same && !s.neverDrops:
		delete(s.ids, key)
	}
	return nil
}

// TestTheSuiteFailsBrokenResourceIDs breaks a good store in one way at a time.
func TestTheSuiteFailsBrokenResourceIDs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(*simpleIDs)
		fails string
	}{
		"good":                            {func(*simpleIDs) {}, ""},
		"put is not atomic":               {func(s *simpleIDs) { s.putNotAtomic = true }, "one wins"},
		"drop is not atomic":              {func(s *simpleIDs) { s.dropNotAtomic = true }, "one wins after a drop"},
		"replies are mixed up":            {func(s *simpleIDs) { s.mixesReplies = true }, "deadline"},
		"put overwrites":                  {func(s *simpleIDs) { s.overwrites = true }, "the first stays, one wins"},
		"put gives the loser its own":     {func(s *simpleIDs) { s.givesOwn = true }, "the first stays, one wins"},
		"drop drops another's id":         {func(s *simpleIDs) { s.dropsAny = true }, "drop of another, one wins after a drop"},
		"drop of another's is an error":   {func(s *simpleIDs) { s.dropOtherFails = true }, "absent, drop of another"},
		"drop does nothing":               {func(s *simpleIDs) { s.neverDrops = true }, "drop"},
		"owner and name run together":     {func(s *simpleIDs) { s.joinsKeys = true }, "resources apart"},
		"names are compared without case": {func(s *simpleIDs) { s.foldsKeys = true }, "resources apart"},
		"the owner is not looked at":      {func(s *simpleIDs) { s.ignoresOwner = true }, "resources apart"},
		"the service's are everybody's":   {func(s *simpleIDs) { s.serviceIsAll = true }, "resources apart"},
		"ids are kept without case":       {func(s *simpleIDs) { s.foldsIDs = true }, "ids"},
		"ids are short":                   {func(s *simpleIDs) { s.cutsAt255 = true }, "ids"},
		"drop takes a pattern":            {func(s *simpleIDs) { s.dropsPatterns = true }, "drop of another"},
		"a write replaces all":            {func(s *simpleIDs) { s.writesAll = true }, "neighbours"},
		"an id goes with its writer":      {func(s *simpleIDs) { s.boundToCaller = true }, "the caller leaves"},
		"put remembers its answers":       {func(s *simpleIDs) { s.remembersPut = true }, "drop"},
		"ids expire":                      {func(s *simpleIDs) { s.expires = true }, "nothing expires"},
		"absence is an error":             {func(s *simpleIDs) { s.errorWhenAbsent = true }, "absent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := newSimpleIDs()
			c.spoil(store)
			s := &idsRun{store, newSuite(StoreClock(store.clock.Now, store.clock.Advance), inMemory)}
			wantFailing(t, failing(t, s.suite, s, idsParts(), c.fails), c.fails)
		})
	}
}

// atOnce calls the functions at the same time, because each waits.
func atOnce(functions ...func() error) []error {
	errs := make([]error, len(functions))
	var all sync.WaitGroup
	for i, f := range functions {
		all.Go(func() { errs[i] = f() })
	}
	all.Wait()
	return errs
}

func partOf[R any](parts []part[R], name string) part[R] {
	return parts[slices.IndexFunc(parts, func(p part[R]) bool { return p.name == name })]
}

// TestSuitesOfFacts runs the exported suites on good stores.
func TestSuitesOfFacts(t *testing.T) {
	t.Parallel()
	clock := &Clock{now: time.Unix(1_800_000_000, 0)}
	TestGrantStore(t, func(*testing.T) gatehouse.GrantStore { return newSimpleGrants() }, StoreClock(clock.Now, clock.Advance), inMemory)
	TestResourceIDs(t, func(*testing.T) gatehouse.ResourceIDs { return newSimpleIDs() }, inMemory)
}

// simpleClients is a RegistrationStore that tests break.
type simpleClients struct {
	*simpleGrants
	foldsNames bool
}

func (s *simpleClients) name(name string) string {
	if s.foldsNames {
		return strings.ToLower(name)
	}
	return name
}

func (s *simpleClients) Registration(ctx context.Context, name string) ([]byte, error) {
	return s.Grant(ctx, s.name(name), "")
}

func (s *simpleClients) SwapRegistration(ctx context.Context, name string, old, new []byte) (bool, error) {
	return s.SwapGrant(ctx, s.name(name), "", old, new)
}

// TestTheSuiteFailsBrokenRegistrationStores breaks a good store in one way at a
// time. The cases are those of grants but for the names.
func TestTheSuiteFailsBrokenRegistrationStores(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(*simpleClients)
		fails string
	}{
		"good":                             {func(*simpleClients) {}, ""},
		"swap is not atomic":               {func(s *simpleClients) { s.notAtomic = true }, "one creates, one replaces, no lost update"},
		"swap says false when already so":  {func(s *simpleClients) { s.falseWhenOurs = true }, "swap is repeated, no lost update with lost replies"},
		"swap deletes unseen":              {func(s *simpleClients) { s.deletesUnseen = true }, "swap deletes"},
		"absence is an empty value":        {func(s *simpleClients) { s.absentIsEmpty = true }, "absent"},
		"names are compared without case":  {func(s *simpleClients) { s.foldsNames = true }, "names apart"},
		"a nil old means whatever is kept": {func(s *simpleClients) { s.nilIsAnything = true }, "swap creates, one creates"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := &simpleClients{simpleGrants: newSimpleGrants()}
			c.spoil(store)
			s := &grantRun{registrations{store}, newSuite(StoreClock(store.clock.Now, store.clock.Advance), inMemory)}
			wantFailing(t, failing(t, s.suite, s, registrationParts(), c.fails), c.fails)
		})
	}
}

// TestRegistrationStores runs the exported suite on the store in memory. That in a
// file writes to a disk, so its contract runs in interop.
func TestRegistrationStores(t *testing.T) {
	t.Parallel()
	TestRegistrationStore(t, func(*testing.T) gatehouse.RegistrationStore { return gatehouse.NewMemoryRegistrationStore() }, inMemory)
}
