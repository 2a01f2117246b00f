package gatehouse

// Tested in internal/e2e/signin, internal/e2e/session.

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"example.com/gatehouse/internal/token"
)

// A provider may say that claims lie elsewhere (OpenID Connect Core §5.6.2). With
// RelyingPartyConfig.ClaimsProviders they are brought into the document that refers
// to them, the ID Token's claims or the user info, before anything reads that. What
// cannot be had is still named there afterwards, and costs nothing else.

// sourcesWait bounds the fetching of all claims that one document refers to, which
// goes on side by side. A person waits for it at sign-in.
const sourcesWait = 2 * time.Second

// bring puts the claims that lie elsewhere into a document of the provider about
// the subject.
func (rp *RelyingParty) bring(ctx context.Context, document token.Claims, subject, client string) {
	if len(rp.elsewhere) == 0 {
		return
	}
	tell := func(err error) {
		rp.provider.emit(ctx, Event{Name: EventTrouble, Code: troubleSource, Subject: subject, ClientID: client, Err: err})
	}
	e, err := document.Elsewhere()
	if e == nil || err != nil {
		if err != nil {
			tell(err)
		}
		return
	}
	sources := e.Sources()
	said, errs := rp.askSources(ctx, sources, client)
	for i, s := range sources {
		err := errs[i]
		if err == nil {
			err = e.Take(s, said[i])
		}
		if err != nil {
			tell(fmt.Errorf("source %q: %w", clip(s.Name), err))
		}
	}
	if err := e.Close(); err != nil {
		tell(err)
	}
}

// askSources asks all of them at once.
func (rp *RelyingParty) askSources(ctx context.Context, sources []token.Source, client string) (said []*token.Sourced, errs []error) {
	ctx, cancel := context.WithTimeout(ctx, sourcesWait)
	defer cancel()
	said, errs = make([]*token.Sourced, len(sources)), make([]error, len(sources))
	var all sync.WaitGroup
	for i, s := range sources {
		all.Go(func() {
			defer func() { // of a Transport or Logger of the application (RL8)
				if value := recover(); value != nil {
					rp.provider.emitPanic(ctx, value, debug.Stack())
					errs[i] = panicked(value)
				}
			}()
			said[i], errs[i] = sourced(ctx, rp.elsewhere, s, client)
		})
	}
	all.Wait()
	return said, errs
}

// recall puts claims that still lie elsewhere into a document of after a refresh,
// as they were before. was is not changed.
func (rp *RelyingParty) recall(document, was, own token.Claims) {
	if len(rp.elsewhere) == 0 {
		return
	}
	if e, err := document.Elsewhere(); e != nil && err == nil {
		e.Recall(was, own)
		_ = e.Close() // cannot fail: what it writes was read
	}
}

// tellClaimsProviders reports settings that weaken safety, once.
func (rp *RelyingParty) tellClaimsProviders() {
	for _, c := range rp.config.ClaimsProviders {
		if c.InsecureInnerAddresses {
			rp.provider.emit(context.Background(), Event{Name: EventInsecureOption, Code: "insecure_inner_addresses",
				Err: errors.New("ClaimsProvider.InsecureInnerAddresses is set: names of claims providers may lead to hosts inside")})
			return
		}
	}
}
