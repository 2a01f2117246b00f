package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.com/gatehouse/internal/strictjson"
)

const (
	// MaxSources is how many sources of claims one document may send us to. Real
	// ones name one or two.
	MaxSources = 8
	// maxElsewhere bounds all claims that the sources of one document bring, in
	// bytes, so that the login record has room for them. A thousand groups with
	// short names fit.
	maxElsewhere = 16 << 10
)

// The members that say which claims lie elsewhere, and where (OpenID Connect
// Core §5.6.2).
const (
	memberNames   = "_claim_names"
	memberSources = "_claim_sources"
)

// HoldsTokens reports whether the claim of that name may have tokens in it: those
// for the endpoints of sources, and what the sources have signed.
func HoldsTokens(name string) bool { return name == memberSources }

// Source is where some claims of a person lie: in JWT (aggregated, §5.6.2.1), or
// at Endpoint (distributed, §5.6.2.2).
type Source struct {
	Name     string   // in the document, chosen by the provider
	Wanted   []string // the claims that the document says it has, sorted
	JWT      string
	Endpoint string
	Access   string // the access token for Endpoint, "" for none
}

// Elsewhere are the claims of one document that lie elsewhere. It is not safe for
// concurrent use.
type Elsewhere struct {
	claims  Claims
	taken   map[string]bool            // the names in claims, folded
	names   map[string]json.RawMessage // of claims, with the names of sources
	sources map[string]json.RawMessage
	left    int // bytes that sources may still bring
}

// Elsewhere reads which claims the document does not hold itself. It returns nil
// if there are none. Both members have to be objects; any other is an error, and
// the document counts as it is.
func (c Claims) Elsewhere() (*Elsewhere, error) {
	if !c.Has(memberNames) {
		return nil, nil
	}
	e := &Elsewhere{claims: c, left: maxElsewhere}
	if json.Unmarshal(c[memberNames], &e.names) != nil {
		return nil, fmt.Errorf("%s is no object", memberNames)
	}
	if c.Has(memberSources) && json.Unmarshal(c[memberSources], &e.sources) != nil {
		return nil, fmt.Errorf("%s is no object", memberSources)
	}
	e.taken = make(map[string]bool, len(c))
	for name := range c {
		e.taken[strictjson.Fold(name)] = true
	}
	return e, nil
}

// Has reports whether the document says that the claim lies elsewhere. Of nil it is
// false.
func (e *Elsewhere) Has(claim string) bool { return e != nil && e.names[claim] != nil }

// Sources returns the first MaxSources sources, by name, that have claims which
// we may take from them. Members that we do not understand are ignored (§5.6.2.1).
func (e *Elsewhere) Sources() []Source {
	wanted := map[string][]string{}
	for _, claim := range slices.Sorted(maps.Keys(e.names)) {
		if source := strictjson.String(e.names[claim]); source != "" && e.free(claim) {
			wanted[source] = append(wanted[source], claim)
		}
	}
	var all []Source
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		var members map[string]json.RawMessage
		if json.Unmarshal(e.sources[name], &members) != nil {
			continue
		}
		s := Source{Name: name, Wanted: wanted[name], JWT: strictjson.String(members["JWT"])}
		if s.JWT == "" {
			s.Endpoint, s.Access = strictjson.String(members["endpoint"]), strictjson.String(members["access_token"])
		}
		if s.JWT != "" || s.Endpoint != "" {
			all = append(all, s)
		}
	}
	return all[:min(len(all), MaxSources)]
}

// free reports whether a claim may come from elsewhere. Who the person is, and what
// is about the token or the sign-in, is said by the provider alone, and so is what
// the document holds itself, in whatever letters.
func (e *Elsewhere) free(claim string) bool {
	folded := strictjson.Fold(claim)
	return !e.taken[folded] && !IsProtocolClaim(folded) && folded != "sub" && folded != memberNames && folded != memberSources
}

// Take puts the claims that the source is said to have into the document, and none
// besides. A source has to have all of them (§5.6.2.1); the error names those that
// are missing.
func (e *Elsewhere) Take(s Source, said *Sourced) error {
	all, err := ParseClaims(said.payload)
	if err != nil {
		return err
	}
	var missing []string
	size := 0
	for _, claim := range s.Wanted {
		if !all.Has(claim) {
			missing = append(missing, claim)
		}
		size += len(claim) + len(all[claim])
	}
	if size > e.left {
		return fmt.Errorf("its claims have %d bytes, and %d are left of %d", size, e.left, maxElsewhere)
	}
	e.left -= size
	for _, claim := range s.Wanted {
		if all.Has(claim) {
			e.put(claim, all[claim])
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("it lacks %.*q", maxQuoted, strings.Join(missing, " "))
	}
	return nil
}

// Recall puts claims into the document that were there before and still lie
// elsewhere, unless the application had set them itself.
func (e *Elsewhere) Recall(before, own Claims) {
	for _, claim := range slices.Sorted(maps.Keys(e.names)) {
		if _, mine := own[claim]; !mine && before.Has(claim) && strictjson.String(e.names[claim]) != "" && e.free(claim) {
			e.put(claim, before[claim])
		}
	}
}

// put adds a claim, which lies elsewhere no longer.
func (e *Elsewhere) put(claim string, value json.RawMessage) {
	if !e.free(claim) { // another one of the same letters came before
		return
	}
	e.claims[claim], e.taken[strictjson.Fold(claim)] = value, true
	delete(e.names, claim)
}

// Close writes into the document what still lies elsewhere, with the sources that
// are needed for that. The others, with the tokens in them, are gone.
func (e *Elsewhere) Close() error {
	needed := map[string]bool{}
	for _, source := range e.names {
		needed[strictjson.String(source)] = true
	}
	maps.DeleteFunc(e.sources, func(name string, _ json.RawMessage) bool { return !needed[name] })
	for member, object := range map[string]map[string]json.RawMessage{memberNames: e.names, memberSources: e.sources} {
		if len(object) == 0 {
			delete(e.claims, member)
			continue
		}
		b, err := json.Marshal(object)
		if err != nil {
			return errors.New("a claim is not JSON")
		}
		e.claims[member] = b
	}
	return nil
}
