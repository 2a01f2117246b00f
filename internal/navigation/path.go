package navigation

import (
	"iter"
	"net/url"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxPath bounds a path to return to, in bytes. Addresses of about that length
// work in every browser and server.
const MaxPath = 2000

// maxServed bounds the path of one of our own handlers, in bytes. A longer
// address is none of them, however it is spelled.
const maxServed = 4 * MaxPath

// ReturnPath returns the wish as a path that a person may be sent back to. It
// must be a path of this site, by [LocalPath], and not one of handlers, which a
// GET must not open (RT6). Empty handlers do not count.
func ReturnPath(wish string, handlers ...string) (string, bool) {
	target, ok := LocalPath(wish)
	if !ok {
		return "", false
	}
	escaped, _, _ := strings.Cut(target, "?")
	for reading := range readings(escaped) {
		served := path.Clean(strings.ReplaceAll(reading, `\`, "/"))
		for _, h := range handlers {
			if h != "" && served == servedPath(h) {
				return "", false
			}
		}
	}
	return target, true
}

// OwnPath returns the path, query and fragment of an absolute address of our
// own origin, such as "https://app.example". It returns any other wish
// unchanged.
func OwnPath(wish, origin string) string {
	scheme, host, _ := strings.Cut(origin, "://")
	bare, withPort := origin, origin
	if port := defaultPorts[scheme]; strings.HasSuffix(host, port) {
		bare = strings.TrimSuffix(origin, port)
	} else if !strings.Contains(host[strings.LastIndex(host, "]")+1:], ":") {
		withPort += port
	}
	for _, own := range []string{withPort, bare} {
		if len(wish) < len(own) || !strings.EqualFold(wish[:len(own)], own) {
			continue
		}
		switch rest := wish[len(own):]; {
		case strings.HasPrefix(rest, "/"):
			return rest
		case rest == "", rest[0] == '?', rest[0] == '#':
			return "/" + rest
		}
	}
	return wish
}

// defaultPorts are the ports that an address need not name.
var defaultPorts = map[string]string{"https": ":443", "http": ":80"}

// Path returns the path of an address or of the target of a request, decoded as
// a router sees it, or "" if there is none.
func Path(address string) string {
	if !strings.HasPrefix(address, "/") {
		u, err := url.Parse(address)
		if err != nil {
			return ""
		}
		return "/" + strings.TrimPrefix(u.Path, "/")
	}
	raw, _, _ := strings.Cut(address, "?")
	decoded, err := url.PathUnescape(raw)
	if err != nil {
		return ""
	}
	return decoded
}

// ServedBy reports whether a router serves both addresses with the same
// handler: their paths are the same, decoded and cleaned.
func ServedBy(address, handler string) bool {
	served := servedPath(address)
	return served != "" && served == servedPath(handler)
}

// servedPath is the path of an address as a router sees it, decoded and
// cleaned. Nobody is sent back to one of our own handlers, however it is
// spelled.
func servedPath(address string) string {
	if raw, _, _ := strings.Cut(address, "?"); len(raw) > maxServed {
		return "" // cleaning costs several times its length (G11)
	}
	decoded := Path(address)
	if decoded == "" {
		return ""
	}
	return path.Clean(decoded)
}

// LocalPath returns raw as a path of this site with its query. What is
// percent-encoded stays byte for byte; what an address cannot contain is
// encoded. LocalPath returns false for anything that a browser, or a server
// that decodes it once or twice, might read as another origin, and for anything
// longer than [MaxPath].
func LocalPath(raw string) (string, bool) {
	if len(raw) > MaxPath || !strings.HasPrefix(raw, "/") || strings.ContainsFunc(raw, unsafe) {
		return "", false
	}
	raw, _, _ = strings.Cut(raw, "#")
	escaped, query, _ := strings.Cut(raw, "?")
	if _, err := url.PathUnescape(escaped); err != nil {
		return "", false
	}
	for reading := range readings(escaped) {
		if twoSlashes(reading) || dotted(reading) || strings.ContainsFunc(reading, c0) {
			return "", false
		}
	}
	out := escape(escaped, pathBytes)
	if query != "" {
		out += "?" + escape(query, queryBytes)
	}
	return out, len(out) <= MaxPath
}

// unsafe reports whether a raw character is one that browsers and parsers
// disagree about: a backslash, a control, a blank, an invisible character, or
// one that looks like a dot or a slash. Joiners belong to words and emoji.
func unsafe(c rune) bool {
	switch {
	case c == '\\' || c < ' ' || c == utf8.RuneError || c >= 0x7f && c <= 0xa0 || c == 0x3000 || c == 0xfeff:
		return true
	case c == 0x200c || c == 0x200d || c >= 0x2010 && c <= 0x2023 || c >= 0x2030 && c <= 0x205e && c != 0x2044:
		return false
	}
	return c >= 0x2000 && c <= 0x206f
}

func c0(c rune) bool { return c < ' ' }

// readings are the texts that servers may take an escaped path for: as it is,
// decoded once, and decoded twice, as far as they differ.
func readings(escaped string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if !yield(escaped) {
			return
		}
		for range 2 {
			if !strings.Contains(escaped, "%") {
				return
			}
			escaped = unescape(escaped)
			if !yield(straight(escaped)) {
				return
			}
		}
	}
}

// unescape decodes every percent-encoding and leaves other percent signs.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if i+2 < len(s) && s[i] == '%' {
			if c, err := url.PathUnescape(s[i : i+3]); err == nil {
				b.WriteString(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// straight replaces every long encoding of an ASCII character, which UTF-8
// forbids and lax decoders accept (RFC 3629 §10), by that character.
func straight(s string) string {
	if strings.IndexFunc(s, func(c rune) bool { return c == utf8.RuneError }) < 0 {
		return s
	}
	var b strings.Builder
	for s != "" {
		c, size := s[0], 1
		for _, head := range []string{"\xc0", "\xc1", "\xe0\x80", "\xe0\x81", "\xf0\x80\x80", "\xf0\x80\x81"} {
			if n := len(head); strings.HasPrefix(s, head) && len(s) > n && s[n]&0xc0 == 0x80 {
				c, size = head[n-1]<<6&0x40|s[n]&0x3f, n+1
			}
		}
		b.WriteByte(c)
		s = s[size:]
	}
	return b.String()
}

// twoSlashes reports whether a path begins with two slashes of either kind.
// What some parser drops does not count: controls, blanks, invisible characters
// and bytes that are not UTF-8.
func twoSlashes(s string) bool {
	slashes := 0
	for _, c := range s {
		switch {
		case c == '/' || c == '\\':
			slashes++
		case !dropped(c):
			return false
		}
		if slashes == 2 {
			return true
		}
	}
	return false
}

// dropped reports whether some parser drops, trims or does not show the
// character.
func dropped(c rune) bool {
	if c < utf8.RuneSelf {
		return c <= ' ' || c == 0x7f
	}
	return c == utf8.RuneError || c == '\u2800' || unicode.IsControl(c) || unicode.IsSpace(c) ||
		unicode.In(c, unicode.Cf, unicode.Z, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// dotted reports whether a path has a dot segment, which a browser or a server
// would remove. Either slash ends a segment. What does not count: parameters,
// characters that some parser drops, and how wide a character is.
func dotted(s string) bool {
	if strings.ContainsFunc(s, func(c rune) bool { return c > 0x7f }) {
		s = narrow.Replace(s)
	}
	if !strings.Contains(s, ".") {
		return false
	}
	for seg := range strings.FieldsFuncSeq(s, func(c rune) bool { return c == '/' || c == '\\' }) {
		seg, _, _ = strings.Cut(seg, ";")
		switch strings.Map(kept, seg) {
		case ".", "..":
			return true
		}
	}
	return false
}

// kept returns the character, or -1 if some parser drops it.
func kept(c rune) rune {
	if dropped(c) {
		return -1
	}
	return c
}

// narrow replaces the characters that become dots or slashes when a text is
// normalised (NFKC).
var narrow = strings.NewReplacer(
	"\uff0e", ".", "\ufe52", ".", "\u2024", ".", "\u2025", "..", "\ufe30", "..",
	"\uff0f", "/", "\uff3c", `\`, "\ufe68", `\`,
)

// The bytes, besides letters and digits, that stay as they are (RFC 3986 §3.3,
// §3.4). The rest is percent-encoded.
const (
	pathBytes  = "%/-._~!$&'()*+,;=:@[]"
	queryBytes = pathBytes + "?^`{|}"
)

func escape(s, keep string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
		if letter || strings.IndexByte(keep, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}
