package oxd

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxReferences bounds how many %(name)s one value may need, those within
	// those included. Without a bound a small file could name itself for ever.
	maxReferences = 100
	// maxValue bounds a value in bytes, when its references have been replaced.
	maxValue = 16 << 10
)

// The sections of a configuration of oxd-python.
const (
	sectionOxd     = "oxd"
	sectionClient  = "client"
	sectionDefault = "DEFAULT" // of Python: what it says counts in every section
)

// Options of oxd-python that are lists, divided by commas, and those that are true
// or false.
var (
	listOptions = []string{
		"redirect_uris", "grant_types", "grant_type", "response_types", "response_type", "acr_values", "contacts", "scope", "scopes", "ui_locales",
		"claims_locales", "claims_redirect_uri", "post_logout_redirect_uris", "logout_redirect_uris", "client_logout_uris",
		"client_frontchannel_logout_uris", "front_channel_logout_uris", "client_request_uris", "client_sector_identifier_uri",
	}
	truthOptions = []string{"trusted_client", "front_channel_logout_session_required", "require_auth_time"}
)

// An ini is a configuration as ConfigParser of Python 2.7 reads it.
type ini struct {
	sections map[string]map[string]string // section → option → value as it stands
	order    []string                     // sections, as they come first
	lines    map[string]int               // "section.option" → line of its value
	twice    []string                     // options that occur again
}

// readINI takes the members from a configuration.
func (f *siteFile) readINI(file []byte) error {
	f.ini = true
	c := ini{sections: map[string]map[string]string{}, lines: map[string]int{}}
	if err := c.parse(file); err != nil {
		return err
	}
	if c.sections[sectionClient] == nil {
		return fmt.Errorf("there is no section [%s], as a configuration of oxd-python has it, and no JSON object", sectionClient)
	}
	for _, name := range c.order {
		switch name {
		case sectionClient, sectionDefault:
		case sectionOxd:
			f.note("[%s] has no effect: there is no oxd server, gatehouse talks to the provider itself", sectionOxd)
		default:
			f.note("[%s] has no effect: oxd-python has no such section", clip(name))
		}
	}
	for _, option := range c.twice {
		f.note("%s occurs twice: the last one counts, as in oxd-python", clip(option))
	}
	options := slices.AppendSeq(slices.Collect(maps.Keys(c.sections[sectionDefault])), maps.Keys(c.sections[sectionClient]))
	slices.Sort(options)
	for _, option := range slices.Compact(options) {
		value, err := c.value(sectionClient, option)
		if err != nil {
			return err
		}
		if f.members[option], err = member(option, value); err != nil {
			return err
		}
	}
	if id, err := c.value(sectionOxd, "id"); err != nil {
		return err
	} else if id != "" {
		f.members["oxd_id"] = quoted(id)
	}
	return nil
}

// member is an option as a member of JSON.
func member(option, value string) (json.RawMessage, error) {
	switch {
	case slices.Contains(listOptions, option):
		list := []string{}
		for one := range strings.SplitSeq(value, ",") {
			if one = strings.TrimSpace(one); one != "" {
				list = append(list, one)
			}
		}
		return json.Marshal(list)
	case value != "" && slices.Contains(truthOptions, option):
		switch strings.ToLower(value) { // as ConfigParser.getboolean
		case "1", "yes", "true", "on":
			return json.RawMessage("true"), nil
		case "0", "no", "false", "off":
			return json.RawMessage("false"), nil
		}
		return nil, fmt.Errorf("%s: it is neither true nor false", option)
	}
	return quoted(value), nil
}

func quoted(text string) json.RawMessage {
	value, _ := json.Marshal(text) // of a text, which never fails
	return value
}

// parse reads the lines. Whatever has options counts under its own section.
func (c *ini) parse(file []byte) error {
	if !utf8.Valid(file) {
		return errors.New("it is not UTF-8")
	}
	section, option := "", ""
	lines := strings.Split(strings.ReplaceAll(string(file), "\r\n", "\n"), "\n")
	for i, line := range dedented(lines) {
		at := i + 1
		if strings.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
			return fmt.Errorf("line %d: it has a control character", at)
		}
		text := strings.TrimSpace(line)
		switch {
		case text == "", line[0] == '#', line[0] == ';', isRemark(line):
			continue
		case unicode.IsSpace(rune(line[0])) && section != "" && option != "": // it goes on
			if had := c.sections[section][option]; had != "" {
				text = had + "\n" + text
			}
			c.sections[section][option] = text
			continue
		case line[0] == '[':
			name, _, ok := strings.Cut(line[1:], "]")
			if !ok || name == "" {
				return fmt.Errorf("line %d: it begins as a section and does not end as one", at)
			}
			section, option = name, ""
			if c.sections[section] == nil {
				c.sections[section] = map[string]string{}
				c.order = append(c.order, section)
			}
			continue
		}
		sign := strings.IndexAny(line, ":=")
		switch {
		case section == "":
			return fmt.Errorf("line %d: it is neither a section nor within one", at)
		case sign <= 0 || unicode.IsSpace(rune(line[0])):
			return fmt.Errorf("line %d: it is neither a section nor an option with = and a value", at)
		}
		option = strings.ToLower(strings.TrimRightFunc(line[:sign], unicode.IsSpace))
		if _, has := c.sections[section][option]; has && section == sectionClient {
			c.twice = append(c.twice, option)
		}
		c.sections[section][option] = withoutRemark(strings.TrimSpace(line[sign+1:]))
		c.lines[section+"."+option] = at
	}
	return nil
}

// dedented takes away what stands before every line, as in an excerpt of a document.
func dedented(lines []string) []string {
	before := ""
	for _, line := range lines {
		if strings.TrimSpace(line) != "" {
			before = line[:len(line)-len(strings.TrimLeft(line, " \t"))]
			break
		}
	}
	every := func(line string) bool { return strings.TrimSpace(line) == "" || strings.HasPrefix(line, before) }
	if before == "" || slices.ContainsFunc(lines, func(line string) bool { return !every(line) }) {
		return lines
	}
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = strings.TrimPrefix(line, before)
	}
	return out
}

// isRemark reports whether a line is "rem …", in any case.
func isRemark(line string) bool {
	word, _, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
	return strings.EqualFold(word, "rem")
}

// withoutRemark removes what stands after a semicolon with a space before it. Two
// quotation marks alone are nothing.
func withoutRemark(value string) string {
	if at := strings.IndexByte(value, ';'); at > 0 && unicode.IsSpace(rune(value[at-1])) {
		value = strings.TrimSpace(value[:at])
	}
	if value == `""` {
		return ""
	}
	return value
}

// raw returns a value as it stands. DEFAULT counts where the section says nothing.
func (c *ini) raw(section, option string) (string, bool) {
	if value, ok := c.sections[section][option]; ok {
		return value, true
	}
	value, ok := c.sections[sectionDefault][option]
	return value, ok
}

// value returns the value of an option, "" if it is not there. %(name)s stands for
// another option, and %% for a percent sign. Any other percent sign is one.
func (c *ini) value(section, option string) (string, error) {
	at := c.lines[section+"."+option]
	if at == 0 {
		at = c.lines[sectionDefault+"."+option]
	}
	text, _ := c.raw(section, option)
	var out strings.Builder
	left := maxReferences
	rest := []string{text} // what is still to be read, the next last
	for len(rest) > 0 {
		next := rest[len(rest)-1]
		rest = rest[:len(rest)-1]
		before, after, found := strings.Cut(next, "%")
		out.WriteString(before)
		if out.Len() > maxValue {
			return "", fmt.Errorf("line %d: %s has more than %d bytes", at, clip(option), maxValue)
		}
		switch {
		case !found:
			continue
		case strings.HasPrefix(after, "%"):
			out.WriteByte('%')
			rest = append(rest, after[1:])
			continue
		case !strings.HasPrefix(after, "("):
			out.WriteByte('%')
			rest = append(rest, after)
			continue
		}
		name, after, ok := strings.Cut(after[1:], ")s")
		if !ok {
			return "", fmt.Errorf("line %d: %s has a %%( without )s", at, clip(option))
		}
		value, ok := c.raw(section, strings.ToLower(name))
		if left--; !ok || left < 0 {
			return "", fmt.Errorf("line %d: %s names an option that is not there, or itself", at, clip(option))
		}
		rest = append(rest, after, value)
	}
	return strings.TrimSpace(out.String()), nil
}
