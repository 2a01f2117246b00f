package oxd

import (
	"fmt"
	"slices"
	"strings"
)

func (r *reader) note(place, format string, args ...any) {
	r.notes = append(r.notes, place+" "+fmt.Sprintf(format, args...))
}

// remarks returns the notes: first general differences from oxd, then the
// others by place.
func (r *reader) remarks() []string {
	out := []string{
		"a request that the document does not name is refused with 403; oxd called it not protected, so it was let through",
		"paths and methods are case-sensitive; oxd ignored their case",
		"a permission counts only within its own times; oxd did not look at exp and nbf of a permission",
		"what the server said about a token is used for CacheTTL, 10 s unless set; oxd asked on each request, so a revoked token was refused at once",
		"a gat_ token, which uma-rs let through everywhere, is treated like any other token: without a permission it gets a ticket",
		"a path is only that path and nothing below it, as in oxd; in uma-rs, the Java filter, it matched everything that began with it",
	}
	if i := slices.IndexFunc(r.conditions, func(c condition) bool { return slices.Contains(c.methods, "GET") && !r.names("HEAD", c.path) }); i >= 0 {
		out = append(out, "GET answers for HEAD too where the document does not name HEAD, as with "+clip(r.conditions[i].path)+"; oxd called HEAD not protected")
	}
	return append(out, r.notes...)
}

// names reports whether the document has a condition for the method and path.
func (r *reader) names(method, path string) bool {
	_, ok := r.claimed[claim{method, strings.ToLower(path)}]
	return ok
}
