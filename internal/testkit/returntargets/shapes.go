package returntargets

import (
	"fmt"
	"strings"
)

// hosts puts everything that browsers, servers and parsers may read as the two
// slashes before a host name in front of host names.
func (l *list) hosts() {
	for _, opener := range openers() {
		for _, host := range []string{Evil, Own + "@" + Evil + ":443/%2f.."} {
			l.add(opener + host)
		}
	}
	for _, opener := range []string{"//", `/\`, "/\t/", "https:"} {
		for _, host := range spelledHosts() {
			l.add(opener + host)
		}
	}
}

// openers are what may be read as "//" at the start of an address: slashes and
// backslashes, encoded or not, with characters between them that parsers drop
// or decode.
func openers() []string {
	slashes := []string{"/", `\`, "%2f", "%2F", "%5c", "%5C", "%252f", "%255c"}
	var all []string
	for _, one := range slashes {
		for _, two := range slashes {
			all = append(all, one+two)
		}
		all = append(all, "/"+one+"/", "//"+one, one+"//"+one)
	}
	for _, between := range dropped() {
		all = append(all, "/"+between+"/", between+"//", "//"+between, "/"+between+`\`)
	}
	for _, alike := range likeSlash() {
		all = append(all, alike+alike, "/"+alike, alike+"/")
	}
	for _, prefix := range []string{"", "?", "#", ";", "/;", "/?", "/#", "/@", "/:", "&", "=", "|", "'", "//;@", "/~", "*", ".", "..", "@", ":"} {
		all = append(all, prefix+"//")
	}
	return all
}

// dropped are characters that some parser drops, trims or treats as blank: tabs
// and line ends (WHATWG URL §4.4), blanks, controls, and marks of Unicode.
func dropped() []string {
	return []string{
		"\t", "\n", "\r", "\r\n", " ", "\x00", "\x01", "\x0b", "\x0c", "\x1b", "\x1f", "\x7f", "\u0085", "\u00a0", "\u00ad", "\u1680", "\u2003", "\u200b",
		"\u200d", "\u2028", "\u2029", "\u202e", "\u2060", "\u3000", "\ufeff",
		"%09", "%0a", "%0d", "%0d%0a", "%20", "+", "%00", "%0b", "%0c", "%7f", "%c2%a0", "%e2%80%8b", "%e2%80%a8", "%ef%bb%bf", "%2509", "%250a", "%u000a",
	}
}

// likeSlash are characters that look like a slash or a backslash, or become one
// when a text is normalised or badly decoded.
func likeSlash() []string {
	return []string{
		"\u2044", "\u2215", "\u29f8", "\uff0f", "\u3033", "\u3035", "\u29f5", "\u29f9", "\ufe68", "\uff3c", "\u2571",
		"%e2%88%95", "%ef%bc%8f", "%c0%af", "%c1%9c", "%e0%80%af", "%f0%80%80%af", "%u2215", "%u002f", "\xc0\xaf", "\xef\xbc", "&#47;", "&sol;", "&#x2f;", `\u002f`, `\x2f`,
	}
}

// spelledHosts are host names and addresses in unusual spellings.
func spelledHosts() []string {
	return []string{
		Evil + ".", Evil + ":80", Evil + ":0", Evil + ":99999", Evil + ":x", Evil + ":", ":80", "@" + Evil, ":@" + Evil, "a:b@" + Evil, Own + ":443@" + Evil,
		Own + "%40" + Evil, Own + "%00@" + Evil, Own + "\\@" + Evil, Own + "#@" + Evil, Own + "?@" + Evil, Own + ";@" + Evil, Own + "\t@" + Evil,
		"evil%2eexample", "evil\u3002example", "evil\uff0eexample", "evil\uff61example", "\uff45vil.example", "\u0435vil.example", "xn--vil-zed.example", "evil\u00ad.example",
		"e\tvil.example", "e\nvil.example", "evil%00.example", "evil%0a.example", "evil example", "evil_.example", "*.example", "evil..example", "-" + Evil,
		"[::1]", "[::1]:8443", "[2001:db8::1]", "[::ffff:192.0.2.1]", "[fe80::1%25eth0]", "[::1", "::1", "[v1.x]",
		"192.0.2.1", "3221225985", "0xc0000201", "0300.0.2.1", "192.513", "\u2460\u2468\u2461.0.2.1", "localhost", "%",
	}
}

// schemes puts schemes in all spellings in front of a host name.
func (l *list) schemes() {
	for _, scheme := range []string{"http", "https", "ftp", "ws", "wss", "file", "blob:https", "filesystem:https", "view-source:https", "feed:https", "jar:https", "intent", "x"} {
		for _, after := range []string{":", ":/", "://", ":///", ":////", `:\\`, `:/\`, `:\/`, "%3a//", "%3A%2F%2F", ":\t//", ":/\n/", ":%0a//", "://@", ":;//"} {
			l.add(scheme + after + Evil)
		}
	}
	for _, spelled := range []string{"HTTPS", "hTtPs", "ht\ttps", "http\ns", "\thttps", " https", "\x00https", "\x1fhttps", "\u00a0https", "%09https", "%20https", "/https", "//https", `\https`,
		".https", "?https", "#https", "https%00", "https ", "https\t", "https\r\n", "\uff48ttps", "htt\u017fps", "h%74tps", "+https", "-https", "1https"} {
		l.add(spelled+"://"+Evil, spelled+":"+Evil, spelled+":\\\\"+Evil+"/"+Own)
	}
}

// scripts spells addresses that run a script or contain their own document.
func (l *list) scripts() {
	for _, scheme := range []string{"javascript", "JavaScript", "JAVASCRIPT", "java\tscript", "java\nscript", "java\r\nscript", "\tjavascript", " javascript", "\x01javascript", "\x00javascript", "\u00a0javascript",
		"java%0ascript", "java&Tab;script", "java%09script", "%6aavascript", "&#106;avascript", `\u006aavascript`, `\x6aavascript`, "/javascript", "//javascript", "?javascript", "#javascript", "javascript\t", "javascript ", "jav\u0430script", "java\x00script",
		"vbscript", "livescript", "mocha", "data", "DATA", "da\tta"} {
		l.add(scheme+":alert(1)", scheme+"://"+Own+"/%0aalert(1)", scheme+"&colon;alert(1)")
	}
	for _, data := range []string{"text/html,<script>alert(1)</script>", "text/html;base64,PHNjcmlwdD4=", ",x", "text/html;charset=utf-7,x", "//text/html,x", "image/svg+xml,<svg onload=alert(1)>"} {
		l.add("data:"+data, "Data:"+data, "\tdata:"+data, "/data:"+data)
	}
	l.add("mailto:a@"+Evil, "tel:1", "about:blank", "about:srcdoc", "chrome://settings", "file:///etc/passwd", "file:\\\\"+Evil, "ms-settings:x", "android-app://"+Evil, "urn:x", "cid:x", "sms:1")
}

// pretenders are addresses of other sites that a text comparison takes for the
// site's own.
func (l *list) pretenders() {
	for _, base := range []string{"https://", "//", `/\`} {
		l.add(base+Own+"."+Evil, base+Own+"@"+Evil, base+Own+":x@"+Evil, base+Evil+"/"+Own, base+Evil+"?"+Own, base+Evil+"#"+Own, base+Evil+`\.`+Own, base+Evil+`\`+Own, base+Evil+";"+Own,
			base+"evil-"+Own, base+"evil"+Own, base+Own+".", base+Own+".."+Evil, base+Own+"%2e"+Evil, base+Own+"\u3002"+Evil, base+Own+"%00."+Evil, base+Own+"\t."+Evil, base+Own+"\x00@"+Evil,
			base+Own+"#@"+Evil, base+Own+"?@"+Evil, base+Own+"/@"+Evil, base+Own+`\@`+Evil, base+Own+"%23@"+Evil, base+Own+"%2f@"+Evil, base+Own+"%5c@"+Evil, base+Own+"&@"+Evil, base+Own+"[@"+Evil, base+Own+"]@"+Evil, base+Own+"^@"+Evil, base+Own+"`@"+Evil,
			base+Own+" @"+Evil, base+Own+":443:80@"+Evil, base+Own+":80\\@"+Evil, base+"www."+Own+"."+Evil, base+"google.fr"+`\.`+Own, base+Own+"/", base+Own+":8443/", base+"sub."+Own+"/", base+Own+"//"+Evil, base+"@"+Own, base+"\u24dd\u24de\u24e3\u24d4\u24e2.test")
	}
}

// dots leaves the path by dot segments and by what is read as one.
func (l *list) dots() {
	for _, dot := range []string{".", "..", "%2e", "%2E%2e", ".%2e", "%2e.", "%252e", "%252e%252e", "\uff0e", "\u2024", "..;", "...", ".;", "..%00", "..%0d", ".\t.", "..%c0%2f", "\u2025"} {
		for _, before := range []string{"/", "/a/b/../", ""} {
			for _, after := range []string{"//", `/\`, "/%2f"} {
				l.add(before + dot + after + Evil)
			}
		}
	}
	for _, n := range []int{2, 9, 60, 400} {
		l.add("/"+strings.Repeat("../", n)+"/"+Evil, strings.Repeat("../", n)+Evil, "/"+strings.Repeat("%2e%2e/", n)+"/"+Evil, "/"+strings.Repeat(`..\`, n)+Evil)
	}
}

// lines tries to end the header that carries the target and to begin another.
func (l *list) lines() {
	for _, end := range []string{"\r\n", "\n", "\r", "%0d%0a", "%0a", "%0d", "%0D%0A", "%250d%250a", "%e5%98%8a%e5%98%8d", "\u560a\u560d", "\u2028", "\x85", "%c2%85", `\r\n`} {
		for _, header := range []string{"Location: https://" + Evil, "Set-Cookie: a=b", "Refresh: 0;url=//" + Evil, end + "<script>alert(1)</script>"} {
			l.add("/"+end+header, "/?x="+end+header)
		}
	}
}

// oddities are targets that are long, empty, cut off or wrongly encoded, and
// the site's own addresses to which no sign-in should return.
func (l *list) oddities() {
	for _, n := range []int{255, 256, 257, 1000, 4096, 20000} {
		l.add("/"+strings.Repeat("a", n-1), strings.Repeat("/", n)+Evil, "/"+strings.Repeat("%2f", n/3)+Evil, strings.Repeat(`\`, n)+Evil, "/"+strings.Repeat("\t", n)+"/"+Evil,
			"https://"+strings.Repeat("a", n)+"@"+Evil, "/?"+strings.Repeat("/", n)+Evil, strings.Repeat(" ", n)+"//"+Evil)
	}
	for _, c := range []byte{0x00, 0x09, 0x20, 0x22, 0x27, 0x3c, 0x3e, 0x5b, 0x5d, 0x5e, 0x60, 0x7b, 0x7c, 0x7d, 0x7f, 0x80, 0xa0, 0xc0, 0xfe, 0xff} {
		l.add(string([]byte{c}), "/"+string([]byte{c}), string([]byte{'/', c, '/'})+Evil, fmt.Sprintf("/%%%02x/%s", c, Evil), "/?"+string([]byte{c}), fmt.Sprintf("/?%%%02x", c))
	}
	l.add("", " ", "/", "//", "///", `\`, `\\`, "?", "#", ".", "..", "%", "/%", "/%2", "/%zz", "/%%2f", "%2f", "null", "undefined", "0", "[object Object]", "<", "${7*7}", "{{7*7}}", "*", "/*",
		"/auth/login", "/auth/login?return_to=//"+Evil, "/auth/callback", "/auth/callback?code=x&state=y", "/auth/logout", "/auth/logout/", "/AUTH/logout", "/auth//logout", "/auth/%6cogout",
		"/\U0001f4a9", "/e\u0301", "/\ud7ff", "/\U0010ffff", "/%f0%9f", "/\xed\xa0\x80", "/?return_to=https://"+Evil, "/#https://"+Evil, "/notes/?next=//"+Evil, "/redirect?to=https%3a%2f%2f"+Evil)
}
