package keyset_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse/internal/keyset"
	"example.com/gatehouse/internal/outbound"
	"github.com/go-jose/go-jose/v4"
)

func TestChoice(t *testing.T) {
	many := make([]string, 0, 12)
	for i := range 12 {
		many = append(many, jwk("rsa2", fmt.Sprint("k", i)))
	}
	nameless := slices.Repeat([]string{jwk("rsa2", "")}, 9)
	overfull := make([]string, 0, 70)
	for i := range 64 {
		overfull = append(overfull, jwk("rsa2", fmt.Sprint("k", i)))
	}
	tests := []struct {
		name  string
		set   []string
		token string
		want  error
	}{
		{"K2: no kid, one key", []string{jwk("rsa1", "k1")}, rs256(t, "rsa1", ""), nil},
		{"K3: no kid, three keys", []string{jwk("rsa2", "a"), jwk("rsa3", "b"), jwk("rsa1", "c")}, rs256(t, "rsa1", ""), nil},
		{"K3: no kid, key not there", []string{jwk("rsa2", "a"), jwk("rsa3", "b")}, rs256(t, "rsa1", ""), keyset.ErrBadSignature},
		{"K3: no kid, within the bound", append(many[:7:7], jwk("rsa1", "k")), rs256(t, "rsa1", ""), nil},
		{"K3: no kid, beyond the bound", append(many[:8:8], jwk("rsa1", "k")), rs256(t, "rsa1", ""), keyset.ErrBadSignature},
		{"K3: no kid, no fitting key", []string{jwk("p256", "a")}, rs256(t, "rsa1", ""), keyset.ErrUnknownKey},
		{"K4: same kid on other types", []string{jwk("p256", "k"), jwk("ed", "k"), jwk("rsa1", "k")}, rs256(t, "rsa1", "k"), nil},
		{"K4: same kid, same type", []string{jwk("rsa2", "k"), jwk("rsa1", "k")}, rs256(t, "rsa1", "k"), nil},
		{"K4: other curve", []string{jwk("p384", "k")}, sign(t, jose.ES256, keys()["p256"], "k"), keyset.ErrUnknownKey},
		{"K5: use enc", []string{jwk("rsa1", "k", "use", "enc"), jwk("rsa2", "x")}, rs256(t, "rsa1", "k"), keyset.ErrUnknownKey},
		{"K5: other alg", []string{jwk("rsa1", "k", "alg", "PS256")}, rs256(t, "rsa1", "k"), keyset.ErrUnknownKey},
		{"K5: this alg", []string{jwk("rsa1", "k", "alg", "RS256")}, rs256(t, "rsa1", "k"), nil},
		{"K5: encryption alg", []string{jwk("rsa1", "k", "alg", "RSA-OAEP", "use", nil), jwk("rsa2", "x")}, rs256(t, "rsa1", "k"), keyset.ErrUnknownKey},
		{"no use", []string{jwk("rsa1", "k", "use", nil)}, rs256(t, "rsa1", "k"), nil},
		{"key_ops with verify", []string{jwk("rsa1", "k", "key_ops", []string{"verify"})}, rs256(t, "rsa1", "k"), nil},
		{"key_ops without verify", []string{jwk("rsa1", "k", "key_ops", []string{"sign"}), jwk("rsa2", "x")}, rs256(t, "rsa1", "k"), keyset.ErrUnknownKey},
		{"other kid", []string{jwk("rsa1", "k")}, rs256(t, "rsa1", "K"), keyset.ErrUnknownKey},
		{"key without kid", []string{jwk("rsa1", "")}, rs256(t, "rsa1", "k"), nil},
		{"key with an empty kid", []string{jwk("rsa1", "", "kid", "")}, rs256(t, "rsa1", "k"), nil},
		{"key without kid beside others", []string{jwk("rsa2", "a"), jwk("p256", ""), jwk("rsa3", ""), jwk("rsa1", "")}, rs256(t, "rsa1", "k"), nil},
		{"key without kid beside that kid", []string{jwk("rsa2", "k"), jwk("rsa1", "")}, rs256(t, "rsa1", "k"), nil},
		{"key without kid, of another kind", []string{jwk("p256", "")}, rs256(t, "rsa1", "k"), keyset.ErrUnknownKey},
		{"key without kid, of another alg", []string{jwk("rsa1", "", "alg", "PS256")}, rs256(t, "rsa1", "k"), keyset.ErrUnknownKey},
		{"key without kid, for encryption", []string{jwk("rsa1", "", "use", "enc"), jwk("rsa2", "x")}, rs256(t, "rsa1", "k"), keyset.ErrUnknownKey},
		{"another key without kid", []string{jwk("rsa2", "")}, rs256(t, "rsa1", "k"), keyset.ErrBadSignature},
		{"keys without kid, within the bound", append(nameless[:7:7], jwk("rsa1", "")), rs256(t, "rsa1", "k"), nil},
		{"keys without kid, beyond the bound", append(nameless[:8:8], jwk("rsa1", "")), rs256(t, "rsa1", "k"), keyset.ErrBadSignature},
		{"last entry looked at", append(overfull[:63:63], jwk("rsa1", "k")), rs256(t, "rsa1", "k"), nil},
		{"entry beyond the bound", append(overfull[:64:64], jwk("rsa1", "k")), rs256(t, "rsa1", "k"), keyset.ErrUnknownKey},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, s := newIssuer(t, jwks(tt.set...))
			want(t, s, tt.token, tt.want)
		})
	}
}

func TestJK6_EntriesThatCannotBeUsed(t *testing.T) {
	weak := `{"kty":"RSA","kid":"bad","e":"AQAB","n":"` + strings.Repeat("A", 170) + `Q"}`
	entries := map[string]string{
		"oct":         `{"kty":"oct","kid":"bad","k":"` + strings.Repeat("A", 43) + `"}`,
		"enc":         jwk("rsa2", "bad", "use", "enc"),
		"P-192":       `{"kty":"EC","crv":"P-192","kid":"bad","x":"AAAA","y":"AAAA"}`,
		"secp256k1":   `{"kty":"EC","crv":"secp256k1","kid":"bad","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 43) + `"}`,
		"Ed448":       `{"kty":"OKP","crv":"Ed448","kid":"bad","x":"AAAA"}`,
		"X25519":      `{"kty":"OKP","crv":"X25519","kid":"bad","x":"` + strings.Repeat("A", 43) + `"}`,
		"short Ed":    `{"kty":"OKP","crv":"Ed25519","kid":"bad","x":"AAAA"}`,
		"RSA-1024":    weak,
		"private RSA": private("rsa2", "bad"),
		"private EC":  private("p256", "bad"),
		"private Ed":  private("ed", "bad"),
		"prime":       jwk("rsa2", "bad", "p", "AQAB"),
		"ES256K":      jwk("p256", "bad", "alg", "ES256K"),
		"unknown kty": `{"kty":"XYZ","kid":"bad"}`,
		"AKP":         `{"kty":"AKP","alg":"ML-DSA-44","kid":"bad","pub":"AAAA"}`,
		"no kty":      jwk("rsa2", "bad", "kty", nil),
		"no n":        jwk("rsa2", "bad", "n", nil),
		"not base64":  jwk("rsa2", "bad", "n", "***"),
		"e 1":         jwk("rsa2", "bad", "e", "AQ"),
		"e even":      jwk("rsa2", "bad", "e", "AQAA"),
		"e huge":      jwk("rsa2", "bad", "e", strings.Repeat("_", 100)),
		"off curve":   jwk("p256", "bad", "x", strings.Repeat("A", 43)),
		"number":      `5`,
		"null":        `null`,
		"string":      `"k"`,
		"list":        `[]`,
		"kid number":  jwk("rsa2", "bad", "kid", 7),
	}
	for name, e := range entries {
		t.Run(name, func(t *testing.T) {
			is, s := newIssuer(t, jwks(e, jwk("rsa1", "k1"), e))
			want(t, s, rs256(t, "rsa1", "k1"), nil)
			wantCount(t, is, 1)
			for _, token := range []string{
				rs256(t, "rsa2", "bad"), sign(t, jose.ES256, keys()["p256"], "bad"), sign(t, jose.EdDSA, keys()["ed"], "bad"),
			} {
				want(t, s, token, keyset.ErrUnknownKey)
			}
		})
	}
	t.Run("garbage certificates do no harm", func(t *testing.T) {
		_, s := newIssuer(t, jwks(jwk("rsa1", "k1", "x5c", []string{"garbage"}, "x5u", ":", "x5t", 5)))
		want(t, s, rs256(t, "rsa1", "k1"), nil)
	})
	t.Run("two k1", func(t *testing.T) {
		_, s := newIssuer(t, jwks(jwk("rsa2", "k1"), jwk("rsa1", "k1")))
		want(t, s, rs256(t, "rsa1", "k1"), nil)
		want(t, s, rs256(t, "rsa2", "k1"), nil)
		want(t, s, rs256(t, "rsa3", "k1"), keyset.ErrBadSignature)
	})
}

func TestJK1_RotationAtOnce(t *testing.T) {
	is, s := newIssuer(t, jwks(jwk("rsa1", "k1")))
	want(t, s, rs256(t, "rsa1", "k1"), nil)
	wantCount(t, is, 1)
	is.set(200, jwks(jwk("rsa1", "k1"), jwk("rsa2", "k2")))
	want(t, s, rs256(t, "rsa2", "k2"), nil) // RP-K6: a rotation right after the last fetch
	want(t, s, rs256(t, "rsa1", "k1"), nil)
	wantCount(t, is, 1)

	is.set(200, jwks(jwk("rsa2", "k2")))
	want(t, s, rs256(t, "rsa1", "k1"), nil) // withdrawn, but nobody has fetched yet
	is.clock.Add(30 * time.Second)
	want(t, s, rs256(t, "rsa3", "k3"), keyset.ErrUnknownKey)
	wantCount(t, is, 1)
	want(t, s, rs256(t, "rsa1", "k1"), keyset.ErrUnknownKey) // RP-K7: the set was replaced
}

func TestRotationWithoutKid(t *testing.T) {
	is, s := newIssuer(t, jwks(jwk("rsa1", "")))
	want(t, s, rs256(t, "rsa1", ""), nil)
	is.set(200, jwks(jwk("rsa2", "")))
	want(t, s, rs256(t, "rsa2", ""), nil)
	want(t, s, rs256(t, "rsa1", ""), keyset.ErrBadSignature)
	wantCount(t, is, 2)
}

// A rotation that happens during a fetch costs one more fetch.
func TestJK1_RotationDuringAFetch(t *testing.T) {
	is, s := newIssuer(t, jwks(jwk("rsa1", "k1")))
	gate := make(chan struct{})
	is.gate = gate
	first := make(chan error, 1)
	go func() {
		_, err := verify(context.Background(), s, rs256(t, "rsa1", "k1"))
		first <- err
	}()
	<-is.asked // the answer to this fetch is already made
	is.set(200, jwks(jwk("rsa1", "k1"), jwk("rsa2", "k2")))
	second := make(chan error, 1)
	go func() {
		_, err := verify(context.Background(), s, rs256(t, "rsa2", "k2"))
		second <- err
	}()
	close(gate)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if err := <-second; err != nil {
		t.Error(err)
	}
	wantCount(t, is, 2)
}

// M1: bad signatures under a known kid cause no fetch.
func TestBadSignatureFetchesNothing(t *testing.T) {
	is, s := newIssuer(t, jwks(jwk("rsa1", "k1")))
	want(t, s, rs256(t, "rsa1", "k1"), nil)
	wantCount(t, is, 1)
	bad, other := rs256(t, "rsa2", "k1"), sign(t, jose.ES256, keys()["p256"], "k1")
	for range 50 {
		want(t, s, bad, keyset.ErrBadSignature)
		want(t, s, other, keyset.ErrUnknownKey)
	}
	wantCount(t, is, 0)
}

func TestJK2_Flood(t *testing.T) {
	is, s := newIssuer(t, jwks(jwk("rsa1", "k1")))
	good := rs256(t, "rsa1", "k1")
	want(t, s, good, nil)
	wantCount(t, is, 1)
	template := strings.SplitN(sign(t, jose.ES256, keys()["p256"], "x"), ".", 2)[1]
	const perSecond = 20
	flood := func(seconds int) {
		for sec := range seconds {
			var wg sync.WaitGroup
			for i := range perSecond {
				wg.Go(func() {
					head := b64(fmt.Sprintf(`{"alg":"ES256","kid":"%d-%d"}`, sec, i))
					want(t, s, head+"."+template, keyset.ErrUnknownKey)
				})
			}
			wg.Wait()
			want(t, s, good, nil)
			is.clock.Add(time.Second)
		}
	}
	for minute := range 3 {
		flood(60)
		if n := is.count(); n > 2 || n == 0 {
			t.Errorf("minute %d: %d fetches", minute, n)
		}
	}
	// A rotated key gets through within 30 s.
	is.set(200, jwks(jwk("rsa2", "k2")))
	rotated := rs256(t, "rsa2", "k2")
	waited := 0
	for ; waited <= 30; waited++ {
		if _, err := verify(t.Context(), s, rotated); err == nil {
			break
		}
		is.clock.Add(time.Second)
	}
	if waited > 30 {
		t.Error("the rotated key is still refused")
	}
}

// A key without kid is tried before a fetch is spent, and a flood of tokens,
// with or without kid, stays inside the budget.
func TestJK2_FloodWithoutKid(t *testing.T) {
	is, s := newIssuer(t, jwks(jwk("rsa1", ""), jwk("rsa3", "")))
	good := rs256(t, "rsa1", "")
	want(t, s, good, nil)
	wantCount(t, is, 1)
	for i := range 50 {
		want(t, s, rs256(t, "rsa3", fmt.Sprint("k", i)), nil)
	}
	wantCount(t, is, 0)
	bad := []string{rs256(t, "rsa2", ""), rs256(t, "rsa2", "x")}
	for minute := range 3 {
		for range 60 {
			var wg sync.WaitGroup
			for i := range 10 {
				wg.Go(func() { want(t, s, bad[i%2], keyset.ErrBadSignature) })
			}
			wg.Wait()
			want(t, s, good, nil)
			is.clock.Add(time.Second)
		}
		if n := is.count(); n > 2 || n == 0 {
			t.Errorf("minute %d: %d fetches", minute, n)
		}
	}
	is.set(200, jwks(jwk("rsa2", "")))
	for range 31 {
		is.clock.Add(time.Second)
		if _, err := verify(t.Context(), s, bad[0]); err == nil {
			return
		}
	}
	t.Error("the rotated key is still refused")
}

// It is reported why an entry is not used, with its kid.
func TestSkippedIsReported(t *testing.T) {
	is := &issuer{status: 200, clock: &clock{now: time.Unix(1_700_000_000, 0)}, asked: make(chan struct{}, 1000)}
	is.Server = httptest.NewServer(is)
	defer is.Close()
	is.set(200, jwks(jwk("rsa1", "k1"), jwk("rsa2", "enc", "use", "enc"), jwk("rsa2", "ops", "key_ops", []string{"encrypt"}), `5`,
		private("p256", "private"), jwk("p256", "alg", "alg", "ES256K"), `{"kty":"oct","kid":"oct","k":"AAAA"}`, jwk("rsa2", "n", "n", nil), jwk("rsa2", strings.Repeat("x", 5000), "use", "enc"),
		`{"use":["sig"],"kty":"RSA","kid":"use"}`, `{"kty":"RSA","kid":7}`, `{"kty":"RSA","kid":"ops2","key_ops":"verify"}`))
	var got []keyset.Skipped
	s := keyset.New(keyset.Config{
		URL: func(context.Context) (string, error) { return is.URL, nil }, Now: is.clock.Now,
		Skipped: func(_ context.Context, skipped []keyset.Skipped) { got = skipped },
	})
	want(t, s, rs256(t, "rsa1", "k1"), nil)
	if err := s.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, w := range []struct {
		kid   string
		other bool
		says  string
	}{{"enc", true, "use"}, {"ops", true, "key_ops"}, {"", false, "not an object"}, {"private", false, "public"}, {"alg", false, "alg"}, {"oct", false, "public"},
		{"n", false, "a number"}, {strings.Repeat("x", 200) + "…", true, "use"}, {"use", false, "use has the wrong type"}, {"", false, "kid has"}, {"ops2", false, "key_ops has"}} {
		if i >= len(got) || got[i].Place != i+1 || got[i].Kid != w.kid || got[i].Other != w.other || !strings.Contains(got[i].Reason, w.says) {
			t.Errorf("entry %d: want %+v; got %+v", i+1, w, got)
		}
	}
	if len(got) != 11 {
		t.Errorf("%d reports", len(got))
	}
}

// A token whose own fetch did not bring its key does not fetch twice.
func TestUnknownKeyFetchesOnce(t *testing.T) {
	is, s := newIssuer(t, jwks(jwk("rsa1", "k1")))
	want(t, s, rs256(t, "rsa2", "k2"), keyset.ErrUnknownKey) // cold
	wantCount(t, is, 1)
	is.clock.Add(keyset.MaxAge)
	want(t, s, rs256(t, "rsa2", "k2"), keyset.ErrUnknownKey)
	wantCount(t, is, 1)
}

// Quiet hours do not save up fetches, and the set fetched for a stranger's
// token is fresh for everybody.
func TestFloodAfterQuietHours(t *testing.T) {
	is, s := newIssuer(t, jwks(jwk("rsa1", "k1")))
	want(t, s, rs256(t, "rsa1", "k1"), nil)
	is.count()
	is.clock.Add(keyset.MaxAge + time.Hour)
	for second := range 60 {
		want(t, s, rs256(t, "rsa2", "k2"), keyset.ErrUnknownKey)
		want(t, s, rs256(t, "rsa1", "k1"), nil)
		if err := s.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if second == 0 {
			wantCount(t, is, 1)
		}
		is.clock.Add(time.Second)
	}
	wantCount(t, is, 1) // after half a minute
}

func TestJK8_EndpointDown(t *testing.T) {
	is, s := newIssuer(t, jwks(jwk("rsa1", "k1")))
	known, unknown := rs256(t, "rsa1", "k1"), rs256(t, "rsa2", "k2")
	want(t, s, known, nil)
	is.set(500, "down")
	for range 60 {
		is.clock.Add(time.Minute)
		want(t, s, known, nil)
		if err := s.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ue := wantUnavailable(t, s, unknown, time.Second)
	var se *outbound.StatusError
	if !errors.As(ue, &se) || se.Code != 500 {
		t.Errorf("cause %v", ue.Err)
	}
	is.count()
	wantUnavailable(t, s, unknown, time.Second) // back-off
	wantCount(t, is, 0)

	is.clock.Add(keyset.StaleLimit - time.Hour + time.Second)
	wantUnavailable(t, s, known, time.Second) // too old to be used
	wantCount(t, is, 1)
	is.set(200, jwks(jwk("rsa1", "k1")))
	is.clock.Add(time.Second)
	want(t, s, known, nil)
	wantCount(t, is, 1)
}

func TestJK8_ColdStart(t *testing.T) {
	tests := []struct {
		name       string
		status     int
		body       string
		retryAfter string
		want       time.Duration
	}{
		{"error", 500, "", "", time.Second},
		{"retry later", 503, "", "7", 7 * time.Second},
		{"retry much later", 429, "", "4000", 30 * time.Second},
		{"not JSON", 200, "<html>", "", time.Second},
		{"M2: empty object", 200, "{}", "", time.Second},
		{"empty set", 200, jwks(), "", time.Second},
		{"null", 200, `{"keys":null}`, "", time.Second},
		{"nothing usable", 200, jwks(`{"kty":"XYZ"}`), "", time.Second},
		{"too large", 200, jwks(jwk("rsa1", "k1", "pad", strings.Repeat("a", 512<<10))), "", time.Second},
		{"redirect", 302, "", "", time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			is, s := newIssuer(t, "")
			is.set(tt.status, tt.body)
			if tt.retryAfter != "" {
				is.header = http.Header{"Retry-After": {tt.retryAfter}}
			}
			token := rs256(t, "rsa1", "k1")
			for range 50 {
				wantUnavailable(t, s, token, tt.want)
			}
			wantCount(t, is, 1)
			is.set(200, jwks(jwk("rsa1", "k1")))
			is.clock.Add(tt.want - time.Millisecond)
			wantUnavailable(t, s, token, time.Millisecond)
			wantCount(t, is, 0)
			is.clock.Add(time.Millisecond)
			want(t, s, token, nil)
			wantCount(t, is, 1)
		})
	}
}

// M2: a broken answer does not replace the good set.
func TestLastGoodSetIsKept(t *testing.T) {
	for _, body := range []string{"{}", jwks(), jwks(`{"kty":"oct"}`), "", `{"keys":5}`, `{"keys":[],"keys":[]}`} {
		is, s := newIssuer(t, jwks(jwk("rsa1", "k1")))
		want(t, s, rs256(t, "rsa1", "k1"), nil)
		is.set(200, body)
		wantUnavailable(t, s, rs256(t, "rsa2", "k2"), time.Second)
		want(t, s, rs256(t, "rsa1", "k1"), nil)
		wantCount(t, is, 2)
	}
}

func TestBudgetEmptyAfterAFailure(t *testing.T) {
	is, s := newIssuer(t, jwks(jwk("rsa1", "k1")))
	want(t, s, rs256(t, "rsa1", "k1"), nil)
	is.set(500, "")
	wantUnavailable(t, s, rs256(t, "rsa2", "k2"), time.Second)
	is.clock.Add(10 * time.Second)
	wantUnavailable(t, s, rs256(t, "rsa2", "k2"), 20*time.Second)
	wantCount(t, is, 2)
}

func TestRefreshDoesNotWait(t *testing.T) {
	is, s := newIssuer(t, jwks(jwk("rsa1", "k1")))
	token := rs256(t, "rsa1", "k1")
	want(t, s, token, nil)
	is.clock.Add(keyset.MaxAge)
	want(t, s, token, nil)
	if err := s.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCount(t, is, 1) // not older than MaxAge: no fetch but the first

	gate := make(chan struct{})
	is.mu.Lock()
	is.gate, is.body = gate, jwks(jwk("rsa2", "k2"))
	is.mu.Unlock()
	is.clock.Add(time.Second)
	for range 20 {
		want(t, s, token, nil) // while the fetch hangs
	}
	close(gate)
	if err := s.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCount(t, is, 1)
	want(t, s, rs256(t, "rsa2", "k2"), nil)
	want(t, s, token, keyset.ErrUnknownKey) // the withdrawn key is gone
}

// A request that saw old keys does not fetch again if another request has
// fetched in the meantime.
func TestRefreshOnlyOnce(t *testing.T) {
	is, _ := newIssuer(t, jwks(jwk("rsa1", "k1")))
	token := rs256(t, "rsa1", "k1")
	var s *keyset.Set
	var mu sync.Mutex
	calls := -1 // guarded by mu; counts while not negative
	now := func() time.Time {
		mu.Lock()
		if calls >= 0 {
			calls++
		}
		second := calls == 2 // the first saw the old keys
		if second {
			calls = -1
		}
		mu.Unlock()
		if second {
			want(t, s, token, nil)
			if err := s.Wait(t.Context()); err != nil {
				t.Error(err)
			}
			wantCount(t, is, 1)
		}
		return is.clock.Now()
	}
	s = keyset.New(keyset.Config{Now: now, URL: func(context.Context) (string, error) { return is.URL, nil }})
	want(t, s, token, nil)
	wantCount(t, is, 1)
	is.clock.Add(keyset.MaxAge + time.Second)
	mu.Lock()
	calls = 0
	mu.Unlock()
	want(t, s, token, nil)
	if err := s.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCount(t, is, 0)
	if calls != -1 {
		t.Error("the second request was not made")
	}
}

func TestOneFlightForAllWaiters(t *testing.T) {
	is, s := newIssuer(t, jwks(jwk("rsa1", "k1")))
	gate := make(chan struct{})
	is.gate = gate
	token := rs256(t, "rsa1", "k1")
	leaver, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := verify(leaver, s, token)
		left <- err
	}()
	<-is.asked
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller that left got %v", err)
	}
	waiting, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Wait(waiting); !errors.Is(err, context.Canceled) {
		t.Errorf("wait gave %v while a fetch is under way", err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { want(t, s, token, nil) })
	}
	close(gate)
	wg.Wait()
	wantCount(t, is, 1)
}

func TestURLIsAskedAtEachFetch(t *testing.T) {
	is, _ := newIssuer(t, jwks(jwk("rsa1", "k1")))
	errDown := errors.New("no metadata")
	var url string
	var urlErr error
	var boom bool
	s := keyset.New(keyset.Config{Now: is.clock.Now, URL: func(context.Context) (string, error) {
		if boom {
			panic("boom")
		}
		return url, urlErr
	}})
	token := rs256(t, "rsa1", "k1")
	urlErr = errDown
	if ue := wantUnavailable(t, s, token, time.Second); !errors.Is(ue, errDown) {
		t.Errorf("cause %v", ue.Err)
	}
	is.clock.Add(time.Second)
	boom = true
	wantUnavailable(t, s, token, time.Second)
	wantUnavailable(t, s, token, time.Second)
	is.clock.Add(time.Second)
	boom, url, urlErr = false, is.URL, nil
	want(t, s, token, nil)
	wantUnavailable(t, keyset.New(keyset.Config{}), token, time.Second) // no URL at all
}

// Rotation, floods and waiting run at the same time, for the race detector.
func TestConcurrentUse(t *testing.T) {
	is, s := newIssuer(t, jwks(jwk("rsa1", "k1")))
	tokens := []string{rs256(t, "rsa1", "k1"), rs256(t, "rsa2", "k2"), rs256(t, "rsa3", "k3"), rs256(t, "rsa2", "k1")}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 10 {
				_, err := verify(t.Context(), s, tokens[(i+j)%len(tokens)])
				if (i+j)%len(tokens) == 3 && err == nil {
					t.Error("a wrong signature verifies")
				}
				if i == 0 {
					is.set(200, jwks(jwk("rsa1", "k1"), jwk("rsa2", "k2")))
				}
				is.clock.Add(3 * time.Minute)
			}
		})
	}
	wg.Wait()
}

// TestStandingBeforeTheFirstKey: whoever asks about tokens that were verified
// causes no fetch while there are none.
func TestStandingBeforeTheFirstKey(t *testing.T) {
	is, s := newIssuer(t, jwks(jwk("p256", "a")))
	if _, ok := s.Standing(is.clock.Now()); ok {
		t.Error("a token would still be verified")
	}
	if err := s.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCount(t, is, 0)
}
