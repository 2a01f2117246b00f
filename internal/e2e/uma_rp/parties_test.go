package uma_rp_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

func TestUMAParty(t *testing.T) {
	w := world.NewShopScript(t)
	tr := w.Shop(w.Told(false), gatehouse.UMATransportConfig{Claims: world.ForBob().Claims})
	get := func(id *gatehouse.Identity) error {
		ctx := context.Background()
		if id != nil {
			ctx = gatehouse.WithIdentity(ctx, id)
		}
		r, _ := http.NewRequestWithContext(ctx, "GET", world.ShopScriptPhotos, nil)
		resp, err := tr.RoundTrip(r)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	for _, id := range []*gatehouse.Identity{nil, {Issuer: "https://id.example.org"}} {
		if err := get(id); gatehouse.ErrorCode(err) != "uma_party_missing" || len(w.Seen()) != 0 {
			t.Errorf("%+v: %v, %d requests", id, err, len(w.Seen()))
		}
	}
	people := []*gatehouse.Identity{
		{Issuer: "https://id.example.org", Subject: "bob"},
		{Issuer: "https://id.example.org", Subject: "carol"},
		{Issuer: "https://other.example.org", Subject: "bob"},
	}
	for range 2 {
		for _, id := range people {
			if err := get(id); err != nil {
				t.Error(err)
			}
		}
	}
	want := []string{"", "rpt1", "", "rpt2", "", "rpt3", "rpt1", "rpt2", "rpt3"}
	if got := w.Tokens(); !slices.Equal(got, want) {
		t.Errorf("the resource server saw %q", got)
	}
	tr.Forget(t.Context(), "https://id.example.org bob")
	for _, id := range people {
		if err := get(id); err != nil {
			t.Error(err)
		}
	}
	if got := w.Tokens()[len(want):]; !slices.Equal(got, []string{"", "rpt4", "rpt2", "rpt3"}) {
		t.Errorf("after Forget: %q", got)
	}
	if got := w.Asked(); got[3].Has("rpt") {
		t.Error("a forgotten token was offered")
	}
}

// TestUMAForgetIdentity: a person's tokens are removed, whatever Party makes of
// the person.
func TestUMAForgetIdentity(t *testing.T) {
	type teamKey struct{}
	bob, carol := &gatehouse.Identity{Issuer: "https://id.example.org", Subject: "bob"}, &gatehouse.Identity{Issuer: "https://id.example.org", Subject: "carol"}
	for name, c := range map[string]struct {
		party  func(context.Context) string
		forget context.Context
		want   []string // the tokens with which bob, carol and an anonymous visitor come afterwards
	}{
		"by default": {nil, t.Context(), []string{"", "rpt4", "rpt2", "rpt3"}},
		"by subject": {func(ctx context.Context) string {
			id := gatehouse.IdentityFrom(ctx)
			if id == nil {
				return ""
			}
			return id.Subject
		}, t.Context(), []string{"", "rpt4", "rpt2", "rpt3"}},
		"by another value": {func(ctx context.Context) string {
			team, _ := ctx.Value(teamKey{}).(string)
			if id := gatehouse.IdentityFrom(ctx); id != nil {
				team += id.Subject
			}
			return team
		}, context.WithValue(t.Context(), teamKey{}, "other "), []string{"rpt1", "rpt2", "rpt3"}},
		"all are one": {func(context.Context) string { return "everybody" }, t.Context(), []string{"", "rpt2", "rpt2", "rpt2"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := world.NewShopScript(t)
			tr := w.Shop(w.Told(false), gatehouse.UMATransportConfig{Party: c.party})
			all := func() (seen []string) {
				before := len(w.Tokens())
				for _, id := range []*gatehouse.Identity{bob, carol, nil} {
					r, err := http.NewRequestWithContext(gatehouse.WithIdentity(t.Context(), id), "GET", world.ShopScriptPhotos, nil)
					if err != nil {
						t.Fatal(err)
					}
					resp, err := tr.RoundTrip(r)
					if err != nil {
						t.Fatal(err)
					}
					resp.Body.Close()
				}
				return w.Tokens()[before:]
			}
			all()
			kept := all()
			tr.ForgetIdentity(t.Context(), nil)
			if got := all(); !slices.Equal(got, kept) || slices.Contains(got, "") {
				t.Errorf("after nobody was forgotten: %q, before %q", got, kept)
			}
			tr.ForgetIdentity(c.forget, bob)
			if got := all(); !slices.Equal(got, c.want) {
				t.Errorf("after bob was forgotten: %q, want %q", got, c.want)
			}
		})
	}
}

// Claims sees the context values of the request that needs it.
func TestUMAClaimsContext(t *testing.T) {
	w := world.NewShopScript(t)
	w.Answer = func(n int, f url.Values) world.ScriptAnswer { return world.Granted("rpt-of-" + f.Get("claim_token")) }
	tr := w.Shop(w.Told(true), gatehouse.UMATransportConfig{
		Claims: func(ctx context.Context) (gatehouse.ClaimToken, error) {
			return gatehouse.ClaimToken{Token: gatehouse.NewSecret(gatehouse.IdentityFrom(ctx).Subject)}, nil
		},
	})
	for _, who := range []string{"bob", "carol"} {
		ctx := gatehouse.WithIdentity(t.Context(), &gatehouse.Identity{Issuer: world.ShopScriptIssuer, Subject: who})
		r, _ := http.NewRequestWithContext(ctx, "GET", world.ShopScriptPhotos, nil)
		resp, err := tr.RoundTrip(r)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(err)
		}
	}
	if got := w.Tokens(); !slices.Equal(got, []string{"", "rpt-of-bob", "", "rpt-of-carol"}) {
		t.Errorf("the resource server saw %q", got)
	}
}

// What an exchange brings for a party that has signed out meanwhile is not
// kept.
func TestUMAForgetDuringExchange(t *testing.T) {
	for name, answer := range map[string]world.ScriptAnswer{
		"granted": world.Granted("rpt1"),
		"denied":  world.Refused(403, "request_denied"),
	} {
		t.Run(name, func(t *testing.T) {
			w := world.NewShopScript(t)
			tr := w.Shop(w.Told(false), world.ForBob())
			w.Answer = func(n int, _ url.Values) world.ScriptAnswer {
				if n == 1 {
					tr.Forget(t.Context(), "bob")
					return answer
				}
				return world.Granted("rpt2")
			}
			c := &http.Client{Transport: tr}
			world.Get(c, world.ShopScriptPhotos)
			before := len(w.Tokens())
			w.WantPicture(c, world.ShopScriptPhotos)
			if got := w.Tokens()[before:]; len(got) != 2 || got[0] != "" || got[1] != "rpt2" || w.Asked()[1].Has("rpt") {
				t.Errorf("after Forget the resource server saw %q, the authorization server %v", got, w.Asked()[1])
			}
		})
	}
}

// TestUMATwoTrustedIssuers: a client of two servers keeps their tokens apart,
// each for its own origin, even if a party has the same name at both.
func TestUMATwoTrustedIssuers(t *testing.T) {
	a, b := world.TwoServers(t, opserver.RPTOptions{})
	worlds, origins := []*world.Photoz{a, b}, []string{"https://a.test", "https://b.test"}
	var shops [2]*http.Client
	var transports [2]*gatehouse.UMATransport
	for i, w := range worlds {
		h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(world.AlbumRules()))
		a.Serve(origins[i], h) // both sites are in both worlds
		b.Serve(origins[i], h)
		w.RPT(h, "GET", "/albums/", "photoz", "view") // shares with bob
		transports[i] = w.Shop(w.ShopConfig("bob"))
		shops[i] = &http.Client{Transport: transports[i]}
	}
	for range 2 {
		for i, shop := range shops {
			if status, body, err := world.Get(shop, origins[i]+"/albums/"); status != 200 || err != nil {
				t.Fatalf("site %d: %d %s %v", i, status, body, err)
			}
		}
	}
	atA, atB := slices.Concat(a.TokensAt(origins[0]), b.TokensAt(origins[0])), slices.Concat(a.TokensAt(origins[1]), b.TokensAt(origins[1]))
	for _, token := range atA {
		if token != "" && slices.Contains(atB, token) {
			t.Error("a token went to both origins")
		}
	}
	if len(atA) != 3 || len(atB) != 3 { // challenged, served, served
		t.Errorf("%d and %d requests", len(atA), len(atB))
	}

	// Forgetting bob at one server leaves him at the other.
	transports[0].Forget(t.Context(), "bob")
	a.Reset()
	b.Reset()
	for i, shop := range shops {
		if status, _, err := world.Get(shop, origins[i]+"/albums/"); status != 200 || err != nil {
			t.Errorf("site %d: %d %v", i, status, err)
		}
	}
	if a.CountToken(world.UMAGrant) == 0 || b.Total() != 0 {
		t.Errorf("%d exchanges at A, %d requests at B", a.CountToken(world.UMAGrant), b.Total())
	}
}

// TestUMAOtherTrustedIssuer: an origin that names the issuer of the
// application's other transport gets nothing from this one: no packet, no
// secret, and not the token that another path of the origin received.
func TestUMAOtherTrustedIssuer(t *testing.T) {
	a, b := world.TwoServers(t, opserver.RPTOptions{})
	hA := world.Photos(a.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(world.AlbumRules()))
	a.RPT(hA, "GET", "/albums/", "photoz", "view")
	hB := world.Photos(b.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(world.AlbumRules()))
	b.RPT(hB, "GET", "/albums/", "photoz", "view")
	mux := http.NewServeMux()
	mux.Handle("/albums/", hA)
	mux.Handle("/b/", http.StripPrefix("/b", hB))
	const site = "https://photos.test"
	a.Serve(site, mux)
	b.Serve(site, mux)
	shop := &http.Client{Transport: a.Shop(a.ShopConfig("bob"))}
	if status, _, err := world.Get(shop, site+"/albums/"); status != 200 || err != nil {
		t.Fatalf("A: %d %v", status, err)
	}
	a.Reset()
	b.Reset()
	_, _, err := world.Get(shop, site+"/b/albums/")
	if gatehouse.ErrorCode(err) != "untrusted_as" || !strings.Contains(fmt.Sprint(err), "as-b.test") {
		t.Errorf("%v, want untrusted_as that names as-b.test", err)
	}
	if a.Total() != 0 || b.CountToken(world.UMAGrant) != 0 {
		t.Errorf("%d requests at A, %d exchanges at B, want none", a.Total(), b.CountToken(world.UMAGrant))
	}
	// The application asks B's transport, at the same origin.
	if status, _, err := world.Get(&http.Client{Transport: b.Shop(b.ShopConfig("bob"))}, site+"/b/albums/"); status != 200 || err != nil {
		t.Errorf("B: %d %v", status, err)
	}
	a.WantSilence([]string{fmt.Sprint(err)})
}
