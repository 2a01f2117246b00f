package returntargets

import "strings"

// BrowserHost is the host to which a browser on https://notes.test/ goes with a
// Location. It follows the WHATWG URL standard (basic URL parser), not net/url:
// it cuts spaces and controls around the address, drops tabs and line breaks
// everywhere, treats a backslash as a slash, lets two slashes begin a host, and
// removes dot segments.
func BrowserHost(location string) string {
	location = strings.TrimFunc(location, func(c rune) bool { return c <= ' ' })
	location = strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(location)
	for i, c := range location { // a scheme
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if c == ':' && i > 0 {
			return "(" + location[:i] + ")"
		}
		if !letter && (i == 0 || !strings.ContainsRune("0123456789+-.", c)) {
			break
		}
	}
	if strings.HasPrefix(location, "//") {
		host := strings.TrimLeft(location, "/") // special schemes ignore further slashes
		if end := strings.IndexAny(host, "/?#"); end >= 0 {
			host = host[:end]
		}
		return host[strings.LastIndex(host, "@")+1:]
	}
	path, _, _ := strings.Cut(location, "?")
	path, _, _ = strings.Cut(path, "#")
	var kept []string // a server or proxy that cleans the path and redirects to it
	for seg := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		switch strings.ToLower(strings.ReplaceAll(strings.ToLower(seg), "%2e", ".")) {
		case ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, seg)
		}
	}
	if cleaned := "/" + strings.Join(kept, "/"); strings.HasPrefix(cleaned, "//") && len(strings.Trim(cleaned, "/")) > 0 {
		return strings.Trim(cleaned, "/")
	}
	return Own
}
