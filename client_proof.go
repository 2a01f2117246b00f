package gatehouse

// Tested in internal/e2e/signin.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/gatehouse/internal/assertion"
	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/possession"
)

const (
	// secretWait is how long one request waits for SecretFunc, as long as for
	// the signature of a Key.
	secretWait = 3 * time.Second
	// secretPause and secretPauseMax are how long SecretFunc is left alone after
	// it failed: 1 s, 2 s, 4 s, then every 8 s.
	secretPause    = time.Second
	secretPauseMax = 8 * time.Second
	// secretAhead is how long before its end a secret is no longer sent, so that
	// it is still good when it arrives, and by a clock that is a little ahead. Of
	// a secret for less than 100 s it is a tenth of its life.
	secretAhead = 10 * time.Second
	secretPart  = 10
)

// prover makes what proves who we are, for each request anew: an assertion, or a
// secret that ends. It knows no client id, because that may change.
type prover struct {
	now      func() time.Time
	audience string // of assertions; "" if none can be made
	alg      string // Client.Algorithm
	key      *assertion.Key
	secret   *backchannel.Kept[Secret] // of Client.SecretFunc, or nil
	holder   *possession.Holder        // of Client.DPoPKey, or nil
}

// newProver takes the keys of the client from it: fmt prints what unexported
// fields hold. DPoPKey was checked.
func newProver(p *Provider, c *Client, key *assertion.Key) *prover {
	issuer := p.issuer
	if p.tenants != nil { // a template is nobody's name
		issuer = ""
	}
	v := &prover{now: p.now, audience: cmp.Or(c.AssertionAudience, issuer), alg: c.Algorithm, key: key}
	if c.DPoPKey != nil {
		v.holder, _ = possession.New(c.DPoPKey, p.now)
	}
	if f := c.SecretFunc; f != nil {
		id := c.told()
		v.secret = backchannel.NewKept(backchannel.KeptConfig[Secret]{
			Fetch: func(ctx context.Context) (Secret, backchannel.Life, error) { return v.fetch(ctx, f) },
			Failed: func(ctx context.Context, err error) {
				p.emit(ctx, Event{Name: EventTrouble, Code: troubleClientSecret, ClientID: id, Err: err})
			},
			Now: p.now, Timeout: outbound.Timeout, Wait: secretWait, Pause: secretPause, MaxPause: secretPauseMax,
		})
	}
	c.Key, c.SecretFunc, c.DPoPKey = nil, nil, nil
	return v
}

// fetch calls SecretFunc. Its panic is trouble of ours as its error is: the
// request that needs the secret is not at fault.
func (v *prover) fetch(ctx context.Context, f func(context.Context) (Secret, time.Time, error)) (secret Secret, life backchannel.Life, err error) {
	defer func() {
		if value := recover(); value != nil {
			secret, err = Secret{}, errClientProof.because(fmt.Errorf("SecretFunc: %w", panicked(value)))
		}
	}()
	asked := v.now()
	secret, ends, err := f(ctx)
	switch {
	case err != nil:
		return Secret{}, life, errClientProof.because(fmt.Errorf("SecretFunc: %w", err))
	case secret.IsZero():
		return Secret{}, life, errClientProof.because(errors.New("SecretFunc: the secret is empty"))
	case ends.IsZero():
		return secret, life, nil
	}
	life.Expires = ends.Add(-min(secretAhead, ends.Sub(asked)/secretPart))
	if !v.now().Before(life.Expires) {
		return Secret{}, life, errClientProof.because(errors.New("SecretFunc: the secret has ended"))
	}
	life.RenewAt = lease.RenewAt(asked, life.Expires)
	return secret, life, nil
}

// sent is the secret of SecretFunc.
func (v *prover) sent(ctx context.Context) (string, error) {
	secret, err := v.secret.Get(ctx)
	if err != nil {
		return "", asError(fmt.Errorf("SecretFunc: %w", err), errClientProof)
	}
	return secret.Reveal(), nil
}

// signed is an assertion of the client, signed with the key.
func (v *prover) signed(ctx context.Context, id, alg string) (string, error) {
	text, err := v.key.Assert(ctx, alg, v.claims(id))
	if err != nil {
		return "", errClientProof.because(err)
	}
	return text, nil
}

// sealed is an assertion of the client, authenticated with its secret.
func (v *prover) sealed(ctx context.Context, id, alg string, secret Secret) (string, error) {
	text := secret.Reveal()
	if v.secret != nil {
		var err error
		if text, err = v.sent(ctx); err != nil {
			return "", err
		}
	}
	made, err := assertion.WithSecret(alg, text, v.claims(id))
	if err != nil {
		return "", errClientProof.because(err)
	}
	return made, nil
}

func (v *prover) claims(id string) assertion.Claims {
	return assertion.Claims{Client: id, Audience: v.audience, Now: v.now()}
}

// Shutdown waits until no signature and no secret is being made, or until ctx is
// done.
func (v *prover) Shutdown(ctx context.Context) error {
	if v == nil {
		return nil
	}
	var errs []error
	if v.key != nil {
		errs = append(errs, v.key.Wait(ctx))
	}
	if v.secret != nil {
		errs = append(errs, v.secret.Shutdown(ctx))
	}
	if v.holder != nil {
		errs = append(errs, v.holder.Wait(ctx))
	}
	return errors.Join(errs...)
}
