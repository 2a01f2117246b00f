package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/gatehouse/internal/storekey"
	"example.com/gatehouse/internal/swap"
)

const (
	logoutDomain = "gatehouse/logout token"
	// logoutAge is how old a logout token may be.
	logoutAge = 2 * time.Minute
	// logoutKept is how long the number of a logout token stays in the store.
	logoutKept = 4 * time.Minute
	// logoutAhead is how far in the future a logout token may have been issued.
	// Its number stays in the store until the token is too old on every replica.
	logoutAhead = logoutKept - logoutAge - markSkew
	// logoutFor is how long a logout from outside goes on while the store fails.
	// Providers seldom send a logout twice, and wait for the answer. While the
	// store works, each call has its own time, however slow it is.
	logoutFor = 1200 * time.Millisecond
	// logoutMost is how long all of that may take at a store that is slow and works,
	// should others change the same marks all the time.
	logoutMost = 5 * time.Second
)

var (
	// ErrStale means that a logout token is too old, or comes from the future.
	ErrStale = errors.New("session: the logout token is not of now")
	// ErrNameless means that a logout token says neither who nor which session,
	// or has no id.
	ErrNameless = errors.New("session: the logout token lacks a name")
)

// Logout is what a verified logout token says (Back-Channel Logout §2.4).
type Logout struct {
	Issuer   string
	Subject  string // "" if the token names none
	SID      string // "" if the token names none
	ID       string // its jti, of any length
	IssuedAt time.Time
}

// marks names the marks that the token raises. A session for which the provider
// named no sid may be the one that a token with sid and sub means, so the
// token ends it as well.
func (l Logout) marks() []string {
	switch {
	case l.SID == "":
		return []string{markOfSubject(l.Issuer, l.Subject)}
	case l.Subject == "":
		return []string{markOfSID(l.Issuer, l.SID)}
	}
	return []string{markOfSID(l.Issuer, l.SID), markOfNoSID(l.Issuer, l.Subject)}
}

// key returns where the number of the token is kept. A token is the same if it
// has the same id and raises the same marks. The client does not count: marks
// are common to all clients of an issuer, and if a provider tells two of them
// about one logout under one id, that is one logout. An id that a provider
// gives to the tokens of two people or sessions is two logouts.
func (l Logout) key(marks []string) string {
	return storekey.Of(logoutDomain, append(marks[:len(marks):len(marks)], l.ID)...)
}

func (l Logout) check(now time.Time) error {
	switch age := now.Sub(l.IssuedAt); {
	case l.ID == "" || l.Subject == "" && l.SID == "":
		return ErrNameless
	case age > logoutAge:
		return fmt.Errorf("%w: it was issued at %s, more than %v ago", ErrStale, l.IssuedAt.UTC().Format(time.RFC3339), logoutAge)
	case age < -logoutAhead:
		return fmt.Errorf("%w: it was issued at %s, and now it is %s", ErrStale, l.IssuedAt.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// LogoutToken ends the sessions that a logout token names, on every replica,
// before it returns. The caller has verified the token. The same token once
// more ends the same sessions: those that began later live.
//
// The error is ErrStale, ErrNameless, ErrUnreadable or ErrStore. After the last
// two, some of the sessions may have ended. A caller that leaves does not stop
// it.
func (k *Keeper) LogoutToken(ctx context.Context, l Logout) error {
	if err := l.check(k.now()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logoutMost)
	defer cancel()
	failing, cancelFailing := context.WithTimeout(ctx, logoutFor)
	defer cancelFailing()
	for wait := createPause; ; wait *= 2 {
		err := k.logoutOnce(ctx, l) // again, it finds the number that it has stored
		if ctx = failing; !errors.Is(err, ErrStore) || swap.Pause(ctx, wait) != nil {
			return err
		}
	}
}

// logoutOnce chooses the token's number from the marks, stores it, and raises
// the marks to it.
func (k *Keeper) logoutOnce(ctx context.Context, l Logout) error {
	names := l.marks()
	keys := []string{l.key(names)}
	for _, name := range names {
		keys = append(keys, markKey(name))
	}
	values, err := k.findMany(ctx, keys...)
	if err != nil {
		return err
	}
	number, err := k.nextNumber(values[1:])
	if err != nil {
		return err
	}
	if number, err = k.keepNumber(ctx, keys[0], values[0], number); err != nil {
		return err
	}
	for i := range names {
		if err := k.updateFrom(ctx, keys[i+1], values[i+1], k.raiseTo(number)); err != nil {
			return err
		}
	}
	return nil
}

// nextNumber returns a number above those of all the marks.
func (k *Keeper) nextNumber(marks [][]byte) (number uint64, err error) {
	number = uint64(k.now().UnixMilli())
	for _, raw := range marks {
		m, err := decodeMark(raw)
		if errors.Is(err, ErrGarbage) { // it counts as raised just now
			m, err = storedMark{number: uint64(k.now().UnixMilli())}, nil
		}
		if err != nil {
			return 0, err
		}
		number = max(number, m.number+1)
	}
	return number, nil
}

// keepNumber stores the number of a logout token, or the one that is stored
// already once more, and returns it. have is what lay in the store when the marks
// were read. What no build has written is replaced: the logout then counts as a new
// one.
func (k *Keeper) keepNumber(ctx context.Context, key string, have []byte, number uint64) (uint64, error) {
	end := k.now().Add(logoutKept)
	err := k.updateFrom(ctx, key, have, func(old []byte) (*swap.Value, error) {
		kept, err := decodeMark(old)
		if err != nil && !errors.Is(err, ErrGarbage) {
			return nil, err
		}
		if old != nil && err == nil { // as it is, because the store may not have confirmed it
			number = kept.number
			return &swap.Value{Bytes: old, Expiry: end}, nil
		}
		return &swap.Value{Bytes: storedMark{number, end}.encode(), Expiry: end}, nil
	})
	return number, err
}

// raiseTo gives a mark at least that number. A mark that has it, or a higher one,
// is written once more, because the store may not have confirmed it: this token
// may have come before, and the writing of another one may have failed. It is
// written as it is, so tokens that find the same mark do not wait for each other.
// A provider that ends all of a person's sessions sends many at once. A mark of an
// older build, which has no end, gets one.
func (k *Keeper) raiseTo(number uint64) swap.Change {
	raise := k.markChange(func(m storedMark) (uint64, time.Duration) { return max(m.number, number), longestLife })
	return func(old []byte) (*swap.Value, error) {
		if m, err := decodeMark(old); err == nil && m.number >= number && !m.end.IsZero() {
			return &swap.Value{Bytes: old, Expiry: m.end}, nil
		}
		return raise(old)
	}
}

// LogoutFront ends the sessions of one session at the provider, on every
// replica, before it returns. Nobody signs a front-channel logout, so it only
// raises a mark that a sign-in has laid down: strangers store nothing. A logout
// that finds no mark is lost, and a sign-in under way survives it. LogoutFront
// reports whether it found one.
//
// The error is ErrUnreadable or ErrStore. A caller that leaves does not stop it.
func (k *Keeper) LogoutFront(ctx context.Context, issuer, sid string) (found bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logoutMost)
	defer cancel()
	raise := k.markChange(k.raised)
	_, err = k.update(ctx, markKey(markOfSID(issuer, sid)), logoutPatience(), func(old []byte) (*swap.Value, error) {
		if found = old != nil; !found {
			return nil, nil
		}
		return raise(old)
	})
	return found && err == nil, err
}

func logoutPatience() swap.Patience {
	return swap.Patience{For: logoutFor, Pause: createPause, Most: logoutFor, Slow: true}
}

// updateFrom is update for a value that has just been read. It goes on as long as
// ctx allows, because only what the store has confirmed counts as stored.
func (k *Keeper) updateFrom(ctx context.Context, key string, have []byte, change swap.Change) error {
	_, err := swap.From(ctx, valueCell{k, key}, logoutPatience(), have, change)
	if errors.Is(err, swap.ErrContended) {
		err = fmt.Errorf("%w: %w", ErrStore, err)
	}
	return err
}
