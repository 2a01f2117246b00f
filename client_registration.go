package gatehouse

// Tested in internal/e2e/registration.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/flight"
	"example.com/gatehouse/internal/registration"
	"example.com/gatehouse/internal/storekey"
)

const (
	// registrationAge is how long a process uses what it knows of a registration
	// before it looks into the store again. Another replica may have renewed the
	// secret; a request that is refused looks at once.
	registrationAge = 15 * time.Second
	// registrationStale is how old that may be when a sign-in begins or ends, or a
	// session is refreshed: a replica that was idle looks first. It is less than the time until a new
	// client begins sign-ins, so that all replicas agree which one it is.
	registrationStale = 30 * time.Second
	// registrationRetry is how long it uses that after the store has failed.
	registrationRetry = 3 * time.Second
	// registrationWait is how long one request waits for a registration under
	// way, so that a sign-in page answers 503 within a second if the provider
	// hangs (G5). The registration itself goes on.
	registrationWait = 900 * time.Millisecond
	// registrationAgain is how long a request whose client was refused waits for
	// what another replica is just storing.
	registrationAgain = 3 * time.Second
	// registrationStoreWait bounds one call to the store.
	registrationStoreWait = 900 * time.Millisecond
)

// Registration is a client that registers itself at a provider when it is first
// needed (OpenID Connect Dynamic Client Registration 1.0, RFC 7591) and remembers
// that in a store. Use it as Client{Registration: r}, in any number of places.
//
// All replicas with the same store and name share one client. A secret that is
// near its end is renewed by asking the provider (RFC 7592), and where that
// gives no new one, by a new client beside the old one, whose sessions go on until
// its secret ends. What a crash or a bad answer leaves at the provider is deleted
// where the provider lets us, and otherwise reported as an event (orphan_client).
//
// A Registration is safe for concurrent use.
type Registration struct {
	provider *Provider
	config   RegistrationConfig
	party    registration.Party
	flights  flight.Group[string, *registered]
	now      atomic.Pointer[registered]
}

// registered is what a process knows of a registration. It is not modified.
type registered struct {
	record  registration.Record
	loaded  time.Time
	checkAt time.Time // when to look into the store again
	clients []known   // of the record, in the same order
	body    []byte    // of a read
}

func (r *Registration) registered(rec registration.Record, body []byte, checkAfter time.Duration) *registered {
	at := r.provider.now()
	now := &registered{record: rec, loaded: at, checkAt: at.Add(checkAfter), body: body}
	for i := range rec.Clients {
		c := &rec.Clients[i]
		now.clients = append(now.clients, known{ID: c.ID, secret: NewSecret(c.Secret), auth: AuthMethod(c.Auth), registered: now, registration: r})
	}
	return now
}

// at is registration.Record.At. Of nothing it is nil.
func (now *registered) at(began, at time.Time) *registration.Client {
	if now == nil {
		return nil
	}
	return now.record.At(began, at)
}

// client returns a client of the record as who we are, or nothing for nil.
func (now *registered) client(c *registration.Client) (known, bool) {
	if now == nil {
		return known{}, false
	}
	for i := range now.clients {
		if c != nil && &now.record.Clients[i] == c {
			return now.clients[i], true
		}
	}
	return known{}, false
}

// NewRegistration returns a Registration at p. It does no I/O. Its error lists
// every problem of the arguments.
func NewRegistration(p *Provider, c RegistrationConfig) (*Registration, error) {
	keys, err := c.complete(p)
	if err != nil {
		return nil, err
	}
	r := &Registration{provider: p, config: c}
	name := c.Name + "\n" + p.issuer // an issuer has no line break
	r.party = registration.Party{
		Cell: registrationCell{c.Store, storekey.Of("gatehouse/registration", name)}, Box: registration.Box{Keys: keys}, Name: name,
		Server: clientRegistrar{p, &r.config}, Now: p.now, Tell: r.tell, Existing: c.Existing.stored(c.Metadata.TokenEndpointAuthMethod),
	}
	return r, nil
}

func (r *Registration) made() bool { return r != nil && r.provider != nil }

// Register registers the client if nothing is registered, also after Delete. If
// the metadata of the configuration is not what was registered, it is updated, or
// registered anew beside the old client where the provider takes no updates. If
// nothing has changed, the provider is asked nothing. An Existing client that was
// taken over is updated once. Calling it when a new version starts is optional: a
// need alone registers, and changes nothing.
//
// Errors are *Error, such as "client_registration_refused",
// "client_registration_store_unavailable" and "provider_unavailable". During the
// pause after a failure, RetryAfter says how long it takes, and the cause says why
// the last try failed, here or on another replica.
func (r *Registration) Register(ctx context.Context) error {
	_, err := r.do(ctx, "register", func(ctx context.Context) (registration.Record, []byte, error) {
		rec, err := r.party.Ensure(ctx, registration.Want{Anew: true})
		return rec, nil, err
	})
	return err
}

// ID returns the id of the client that begins sign-ins now. It registers if
// nothing is registered yet. Errors are those of Register.
func (r *Registration) ID(ctx context.Context) (string, error) {
	if !r.made() {
		return "", notMade("Registration")
	}
	who, err := r.who(ctx, r.provider.now())
	return who.ID, err
}

// Read asks the provider for the metadata of the client as it is now (RFC 7592
// §2.1). A secret or token that comes along is stored and not returned. Errors are
// *Error: "client_registration_missing" if nothing is registered, or the provider
// gave no address for this, and otherwise those of Register.
func (r *Registration) Read(ctx context.Context) (ClientMetadata, error) {
	var m ClientMetadata
	now, err := r.do(ctx, "read", func(ctx context.Context) (registration.Record, []byte, error) { return r.party.Read(ctx) })
	if err != nil {
		return m, err
	}
	var said map[string]json.RawMessage
	err = json.Unmarshal(now.body, &said)
	for _, name := range notMetadata {
		delete(said, name)
	}
	if err == nil {
		now.body, err = json.Marshal(said)
	}
	if err == nil {
		err = json.Unmarshal(now.body, &m)
	}
	if err != nil {
		return m, errRegistrationUnusable.because(err)
	}
	return m, nil
}

// Update replaces the metadata at the provider with that of the configuration
// (RFC 7592 §2.2), whether it has changed or not. Errors are those of Read.
func (r *Registration) Update(ctx context.Context) error {
	_, err := r.do(ctx, "update", func(ctx context.Context) (registration.Record, []byte, error) {
		rec, err := r.party.Update(ctx)
		return rec, nil, err
	})
	return err
}

// Delete deletes the client at the provider (RFC 7592 §2.3). From then on all
// replicas answer 503 (client_registration_deleted), until Register is called. An
// error means that the provider may still have a client; another call tries
// again. Errors are those of Read.
func (r *Registration) Delete(ctx context.Context) error {
	_, err := r.do(ctx, "delete", func(ctx context.Context) (registration.Record, []byte, error) {
		err := r.party.Delete(ctx)
		return registration.Record{Deleted: true}, nil, err
	})
	return err
}

// Shutdown waits until the registrations and renewals under way are done and
// stored, or until ctx is done. It includes the fetches of the Provider.
func (r *Registration) Shutdown(ctx context.Context) error {
	if !r.made() {
		return nil // it has started nothing
	}
	return errors.Join(r.flights.Wait(ctx), r.provider.Shutdown(ctx))
}

// do runs work in a flight and keeps what came of it.
func (r *Registration) do(ctx context.Context, key string, work func(context.Context) (registration.Record, []byte, error)) (*registered, error) {
	if !r.made() {
		return nil, notMade("Registration")
	}
	now, err := r.flights.Do(ctx, key, registration.Flight, func(ctx context.Context) (*registered, error) { return r.work(ctx, work) })
	if err != nil {
		return nil, r.failure(err)
	}
	return now, nil
}

func (r *Registration) work(ctx context.Context, work func(context.Context) (registration.Record, []byte, error)) (*registered, error) {
	rec, body, err := work(ctx)
	had := r.now.Load()
	switch {
	case errors.Is(err, registration.ErrDeleted):
		r.now.Store(r.registered(registration.Record{Deleted: true}, nil, 0))
		return nil, err
	case err != nil && had != nil: // what is known goes on to serve
		old := r.registered(had.record, nil, registrationRetry)
		old.loaded = had.loaded
		r.now.CompareAndSwap(had, old)
	}
	if err != nil {
		return nil, err
	}
	now := r.registered(rec, body, registrationAge)
	r.now.Store(now)
	return now, nil
}

// ensure looks into the store, and registers or renews if need be.
func (r *Registration) ensure(ctx context.Context) (registration.Record, []byte, error) {
	rec, err := r.party.Ensure(ctx, registration.Want{})
	return rec, nil, err
}

// load looks into the store and asks the provider for nothing.
func (r *Registration) load(ctx context.Context) (registration.Record, []byte, error) {
	rec, err := r.party.Load(ctx)
	return rec, nil, err
}

// who returns the client of a sign-in that began at a time, as it is now.
func (r *Registration) who(ctx context.Context, began time.Time) (known, error) {
	had, at := r.now.Load(), r.provider.now()
	if had != nil {
		who, ok := had.client(had.record.At(began, at))
		if ok && !at.Before(had.checkAt) {
			r.flights.Start("ensure", registration.Flight, func(ctx context.Context) (*registered, error) { return r.work(ctx, r.ensure) })
		}
		if ok && at.Sub(had.loaded) >= registrationStale {
			now, err := r.look(ctx, "load", registrationStoreWait, r.load)
			if newer, has := now.client(now.at(began, at)); has {
				return newer, nil
			}
			ok = err != nil // the store is away, and what is known serves
		}
		if ok {
			return who, nil
		}
	}
	now, err := r.look(ctx, "ensure", registrationWait, r.ensure)
	if err != nil {
		return known{}, err
	}
	who, ok := now.client(now.at(began, r.provider.now()))
	if !ok {
		return known{}, errRegistrationUnusable.because(errors.New("the secret of the client has ended, and there is no other client"))
	}
	return who, nil
}

// look is do for one request, which does not wait for ever.
func (r *Registration) look(ctx context.Context, key string, wait time.Duration, work func(context.Context) (registration.Record, []byte, error)) (*registered, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return r.do(ctx, key, work)
}

// was returns the client with that id. What another replica has registered or
// renewed is looked for in the store, also before a secret that it may have
// replaced is sent: some servers end a refresh token that comes with an old one. If
// nobody has renewed the newest client, because nobody was here, its secret may
// still be renewed.
func (r *Registration) was(ctx context.Context, id string) (known, error) {
	had := r.now.Load()
	who, ok := had.find(id)
	if !ok || r.provider.now().Sub(had.loaded) >= registrationStale {
		now, err := r.look(ctx, "load", registrationStoreWait, r.load)
		switch {
		case err == nil:
			had = now
			who, ok = had.find(id)
		case !ok:
			return known{}, err
		} // else the store is away, and what is known serves
	}
	if clients := had.record.Clients; !ok && len(clients) > 0 && clients[0].ID == id {
		var err error
		if had, err = r.look(ctx, "ensure", registrationWait, r.ensure); err != nil {
			return known{}, err
		}
		who, ok = had.find(id)
	}
	if !ok {
		return known{}, errClientEnded
	}
	return who, nil
}

// find returns the client with that id, if its secret serves.
func (now *registered) find(id string) (known, bool) {
	if now == nil {
		return known{}, false
	}
	for i := range now.clients {
		if c := &now.record.Clients[i]; c.ID == id && c.Serves(now.clients[i].registration.provider.now()) {
			return now.clients[i], true
		}
	}
	return known{}, false
}

// serving returns all clients that serve, the oldest first.
func (r *Registration) serving(ctx context.Context) (list []known, err error) {
	if _, err := r.who(ctx, r.provider.now()); err != nil { // there may be none yet
		return nil, err
	}
	now := r.now.Load()
	for i := len(now.clients) - 1; i >= 0; i-- {
		if who, ok := now.find(now.clients[i].ID); ok {
			list = append(list, who)
		}
	}
	return list, nil
}

// errClientEnded is the cause when something was made for a client that is none
// of ours any more, or whose secret has ended.
var errClientEnded = errors.New("the secret of the client that this was made for has ended, or it is none of ours")

// owns reports whether what was made for the client id is ours. If it is not
// known here, another replica may have registered it a moment ago.
func (r *Registration) owns(ctx context.Context, id string) (bool, error) {
	had := r.now.Load()
	if had != nil && (had.record.Owns(id) || r.provider.now().Before(had.loaded.Add(time.Second))) {
		return had.record.Owns(id), nil
	}
	now, err := r.look(ctx, "load", registrationStoreWait, r.load)
	if err != nil {
		return false, err
	}
	return now.record.Owns(id), nil
}

// instead returns who we are after a server has refused who we were, if the
// secret of a registered client has been renewed since.
func (k *known) instead(ctx context.Context, err error) (known, bool) {
	if err == nil || k.registration == nil || !errors.Is(err, backchannel.ErrCaller) || errors.Is(err, backchannel.ErrUnproven) {
		return known{}, false
	}
	next, ok := k.registration.instead(ctx, *k)
	next.prover = k.prover
	return next, ok
}

// instead returns the client with that id after the provider has refused it, if it
// has another secret now, or else the client that took its place, if any may call.
func (r *Registration) instead(ctx context.Context, refused known) (known, bool) {
	now, err := r.look(ctx, "instead", registrationAgain, func(ctx context.Context) (registration.Record, []byte, error) {
		rec, err := r.party.Ensure(ctx, registration.Want{RefusedID: refused.ID, Refused: refused.secret.Reveal()})
		return rec, nil, err
	})
	if err != nil {
		return known{}, false
	}
	who, ok := now.client(now.record.Find(refused.ID))
	if at := r.provider.now(); !ok && refused.free {
		who, ok = now.client(now.at(at, at))
	}
	return who, ok && (who.ID != refused.ID || who.secret.Reveal() != refused.secret.Reveal())
}

// told is the id of the client as far as it is known without I/O.
func (r *Registration) told() string {
	if had := r.now.Load(); had != nil {
		if at := r.provider.now(); had.record.At(at, at) != nil {
			return had.record.At(at, at).ID
		}
	}
	return ""
}

// others returns the ids of the other clients that the provider may name.
func (k *known) others() (ids []string) {
	if k.registered == nil {
		return nil
	}
	for _, c := range k.registered.record.Clients {
		if c.ID != k.ID {
			ids = append(ids, c.ID)
		}
	}
	return append(ids, k.registered.record.Ended...)
}

// lasts is that of a Client. It looks into the store and asks the provider nothing.
func (r *Registration) lasts(ctx context.Context, again bool) (ids []string, err error) {
	now := r.now.Load()
	switch {
	case again && r.provider.now().Before(now.loaded.Add(time.Second)):
		return nil, nil
	case again || now == nil:
		if now, err = r.look(ctx, "load", registrationStoreWait, r.load); err != nil {
			return nil, err
		}
	}
	for _, c := range now.record.Clients {
		ids = append(ids, c.ID)
	}
	return append(ids, now.record.Ended...), nil
}

// failure returns an engine's error as an *Error.
func (r *Registration) failure(err error) error {
	for _, f := range []struct {
		is   error
		kind kind
	}{
		{registration.ErrUnusable, errRegistrationUnusable},
		{registration.ErrDeleted, errRegistrationDeleted},
		{registration.ErrNone, errRegistrationNone},
		{registration.ErrUnmanaged, errRegistrationNone},
		{registration.ErrGarbage, errRegistrationUnreadable},
		{registration.ErrUnreadable, errRegistrationUnreadable},
		{registration.ErrTooLarge, errRegistrationUnusable},
	} {
		if errors.Is(err, f.is) {
			return f.kind.because(err)
		}
	}
	if f, ok := errors.AsType[*registration.Failure](err); ok {
		e := *asError(f.Err, errProviderUnavailable)
		e.retryIn(max(f.Wait, e.RetryAfter))
		return &e
	}
	if paused, ok := errors.AsType[*registration.PausedError](err); ok {
		for _, k := range []kind{errRegistrationRefused, errEndpoint, errCertificate} {
			if k.code == paused.Code {
				return k.because(paused)
			}
		}
		if paused.Code == registration.CodeUnusable {
			return errRegistrationUnusable.because(paused)
		}
		return errProviderUnavailable.after(paused.For, paused)
	}
	return asError(late(err, "registration", r.provider.addressOf(r.provider.openid)), errProviderUnavailable)
}

// tell reports what became of a client. The names of members that the provider
// changed are ours.
func (r *Registration) tell(ctx context.Context, n registration.Note) {
	e := Event{Name: EventClient, Code: string(n.Word), ClientID: clip(n.Client), Err: n.Err}
	switch n.Word {
	case registration.Changed:
		e.Name, e.Code = EventTrouble, troubleChanged
		e.Err = fmt.Errorf("the provider has set other values than asked for: %s", strings.Join(n.Names, ", "))
	case registration.Orphan:
		e.Name, e.Code = EventTrouble, troubleOrphan
		if e.Err == nil {
			e.Err = errors.New("it could not be deleted")
		}
	}
	r.provider.emit(ctx, e)
}

// hasClientRegistration returns an error if the provider registers nobody.
func (p *Provider) hasClientRegistration(md *Metadata) error {
	if md.RegistrationEndpoint == "" {
		return errMetadataInvalid.because(p.lacks(memberClientRegistration))
	}
	return nil
}
