package oxd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/strictjson"
)

// maxTime is the last second of the year 9999. A time beyond that is in
// milliseconds, as oxd-server writes it into its own files.
const maxTime = 253402300799

// Site is a site as oxd knew it. ParseSite makes it.
type Site struct {
	// OPHost is op_host, "" if the file does not say. At most providers it is the
	// issuer, so the first argument of NewProvider. Compare it with "issuer" in the
	// provider's metadata: they have to be equal byte for byte.
	OPHost string
	// Metadata is what the site registered, for RegistrationConfig.Metadata, or of
	// oxd-default-site-config.json for RegistrationConfig.Defaults. Its Scopes go
	// into RelyingPartyConfig.Scopes too, and its first RedirectURIs is
	// RelyingPartyConfig.RedirectURL.
	Metadata gatehouse.ClientMetadata
	// Client is the client that the provider has for the site, and the zero Client
	// if the file names none. It serves as it is, without a Registration.
	Client gatehouse.Client
	// Existing is the same client, for RegistrationConfig.Existing, if the file
	// says where and with which token it can be read and changed, and otherwise
	// nil.
	Existing *gatehouse.ExistingClient
	// Notes say which parts of the file have no effect, and what has to be looked
	// for elsewhere. They hold names and no values. Read them once, and write them
	// to your log.
	Notes []string
}

// ParseSite reads a site of oxd, to be taken over: a configuration of
// oxd-python, such as demosite.cfg, with what its register_site or setup_client
// wrote back; or JSON, as one object: the file or row in which oxd-server keeps a
// site, the input of register_site and its answer, each with or without
// what is around them, and oxd-default-site-config.json.
//
// The file is UTF-8 of at most 1 MiB. A configuration is read as Python 2.7 reads
// it, with its comments, continuation lines, DEFAULT and %(name)s. Errors say the
// line or the member, and quote no value.
func ParseSite(file []byte) (*Site, error) {
	site, err := parseSite(bytes.TrimPrefix(file, []byte("\ufeff")))
	if err != nil {
		return nil, fmt.Errorf("oxd: site: %w", err)
	}
	return site, nil
}

func parseSite(file []byte) (*Site, error) {
	if len(file) > maxDocument {
		return nil, fmt.Errorf("it has more than %d bytes", maxDocument)
	}
	f := siteFile{members: map[string]json.RawMessage{}}
	read := f.readINI
	if bytes.HasPrefix(bytes.TrimLeft(file, " \t\r\n"), []byte("{")) {
		read = f.readJSON
	}
	if err := read(file); err != nil {
		return nil, err
	}
	return f.site()
}

// siteFile is what a file says about a site, whatever its form.
type siteFile struct {
	members map[string]json.RawMessage
	notes   []string
	ini     bool
}

func (f *siteFile) note(format string, args ...any) {
	f.notes = append(f.notes, fmt.Sprintf(format, args...))
}

// readJSON finds the members, whatever surrounds them.
func (f *siteFile) readJSON(file []byte) error {
	err := strictjson.Unmarshal(file, &f.members)
	switch {
	case errors.Is(err, strictjson.ErrSyntax):
		return syntax(file)
	case err != nil:
		return err
	}
	inner, around := f.members["params"], []string{"command", "params"} // of a command
	if inner == nil {
		inner, around = f.members["data"], []string{"status", "data"} // of an answer
	}
	switch {
	case strictjson.String(f.members["status"]) == "error":
		return errors.New("status: it is the answer to a call that failed")
	case inner == nil:
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(f.members)) {
		if !slices.Contains(around, name) {
			return fmt.Errorf("%s: does not belong beside %s", clip(name), around[1])
		}
	}
	f.members = nil
	if err := strictjson.Unmarshal(inner, &f.members); err != nil || f.members == nil {
		return fmt.Errorf("%s: it is no object", around[1])
	}
	return nil
}

// Members that say who the client is, and those of oxd that a provider calls
// otherwise.
const (
	memberID      = "client_id"
	memberSecret  = "client_secret"
	memberExpires = "client_secret_expires_at"
	memberIssued  = "client_id_issued_at"
	memberManage  = "registration_client_uri"
	memberToken   = "registration_access_token"
	oxdPrefix     = "client_" // oxd writes it before the last two
)

// ofOxd are members that oxd kept for itself, with what takes their place.
var ofOxd = map[string]string{
	"oxd_id":                      "a Provider and a Client stand for it",
	"setup_client_oxd_id":         "a Provider and a Client stand for it",
	"client_id_of_oxd_id":         "there is one client",
	"op_discovery_path":           "set ProviderConfig.MetadataURL if the provider's metadata lie elsewhere than at the usual place",
	"oxd_rp_programming_language": "nothing needs it",
	"protection_access_token":     "there is no oxd server to be protected",
	"dynamic_registration":        "a Client that is set registers nothing, and a Registration does",
	"id_token":                    "people sign in again",
	"access_token":                "people sign in again",
	"user_id":                     "OwnerGrants asks the person, and stores no password",
	"user_secret":                 "OwnerGrants asks the person, and stores no password",
	"pat":                         "a new one is obtained",
	"pat_expires_in":              "a new one is obtained",
	"pat_created_at":              "a new one is obtained",
	"pat_refresh_token":           "OwnerGrants.Put takes a refresh token of an owner; a service needs none",
	"oauth_token":                 "a new one is obtained",
	"oauth_token_expires_in":      "a new one is obtained",
	"oauth_token_created_at":      "a new one is obtained",
	"oauth_token_refresh_token":   "a new one is obtained",
	"rpt":                         "a new one is obtained",
	"rpt_token_type":              "a new one is obtained",
	"rpt_pct":                     "a new one is obtained",
	"rpt_upgraded":                "a new one is obtained",
	"rpt_expires_at":              "a new one is obtained",
	"rpt_created_at":              "a new one is obtained",
	"uma_protected_resources":     "Rules stand for them: give the document of uma_rs_protect to ParseProtection",
	"software_statement":          "set RegistrationConfig.SoftwareStatement if the client has to be registered anew",
}

// site sorts the members.
func (f *siteFile) site() (*Site, error) {
	if len(f.members) == 0 {
		return nil, errors.New("it says nothing about a site")
	}
	s := &Site{}
	var wrong error
	take := func(name string) string {
		text, err := f.take(name)
		if err != nil && wrong == nil {
			wrong = err
		}
		return text
	}
	s.OPHost = take("op_host")
	oxdID := strictjson.String(f.members["oxd_id"])
	id, secret := take(memberID), take(memberSecret)
	manage, token := take(memberManage), take(memberToken)
	if manage == "" {
		manage = take(oxdPrefix + memberManage)
	}
	if token == "" {
		token = take(oxdPrefix + memberToken)
	}
	expires := f.takeTime(memberExpires, &wrong)
	f.takeTime(memberIssued, &wrong)
	if wrong != nil {
		return nil, wrong
	}
	for _, name := range slices.Sorted(maps.Keys(f.members)) {
		if why, ok := ofOxd[name]; ok {
			if !slices.Contains([]string{"null", `""`, "[]", "0", "false"}, string(f.members[name])) {
				f.note("%s has no effect: %s", name, why)
			}
			delete(f.members, name)
		}
	}
	if err := f.metadata(&s.Metadata); err != nil {
		return nil, err
	}
	if err := s.identify(f, id, secret, manage, token, expires); err != nil {
		return nil, err
	}
	if id == "" && oxdID != "" {
		f.note("the client is not in this file: oxd keeps it under the oxd_id, as conf/<oxd_id>.json or as a row of its database; without that, the site is registered anew")
	}
	s.Notes = f.notes
	return s, nil
}

// take removes a member that is one text, and returns it.
func (f *siteFile) take(name string) (string, error) {
	value := f.members[name]
	delete(f.members, name)
	var text *string
	if value != nil && strictjson.Unmarshal(value, &text) != nil {
		return "", fmt.Errorf("%s: it is no text", name)
	}
	if text == nil {
		return "", nil
	}
	return *text, nil
}

// takeTime removes a member that is a time in seconds, or in milliseconds. What is
// absent, 0 or after the year 9999 is the zero time: never.
func (f *siteFile) takeTime(name string, wrong *error) time.Time {
	value := f.members[name]
	delete(f.members, name)
	text := string(value)
	if strings.HasPrefix(text, `"`) { // every value of a configuration is text
		text = strictjson.String(value)
	}
	if text == "" || text == "null" {
		return time.Time{}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil || n < 0:
		if *wrong == nil {
			*wrong = fmt.Errorf("%s: it is no number of seconds or milliseconds", name)
		}
		return time.Time{}
	case n == 0:
		return time.Time{}
	case n > maxTime:
		n /= 1000
	}
	if n > maxTime { // as good as never
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}

// metadata reads what is left, as the metadata of a client.
func (f *siteFile) metadata(m *gatehouse.ClientMetadata) error {
	text, err := json.Marshal(f.members)
	if err == nil {
		err = json.Unmarshal(text, m)
	}
	if err != nil || !f.ini {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(m.Extra)) { // oxd-python sent no option that it did not know
		f.note("%s has no effect: oxd-python did not know it either", clip(name))
	}
	m.Extra = nil
	return nil
}

// identify says which client the site has.
func (s *Site) identify(f *siteFile, id, secret, manage, token string, expires time.Time) error {
	method := s.Metadata.TokenEndpointAuthMethod
	switch {
	case id == "" && (secret != "" || token != ""):
		return fmt.Errorf("%s: it is missing, but there is what belongs to it", memberID)
	case id == "":
		return nil
	case method == gatehouse.AuthPrivateKeyJWT:
		f.note("the client proves who it is with a key (%s): set Client.Key and Client.KeyID", method)
		secret, method = "", "" // a Key says so, and there is none in the file
	case method == gatehouse.AuthNone:
		secret = ""
	case secret == "":
		return fmt.Errorf("%s: it is missing, but there is %s", memberSecret, memberID)
	}
	s.Client = gatehouse.Client{ID: id, Secret: gatehouse.NewSecret(secret), Auth: method}
	if manage == "" || token == "" {
		f.note("the client cannot be read, changed and deleted, because the file lacks its %s or %s: set Client, and no Registration", oxdPrefix+memberManage, oxdPrefix+memberToken)
		if !expires.IsZero() {
			f.note("its secret ends at %s (%s), and nothing renews it", expires.Format(time.RFC3339), memberExpires)
		}
		return nil
	}
	s.Existing = &gatehouse.ExistingClient{ID: id, Secret: s.Client.Secret, SecretExpires: expires, ManagementURL: manage, ManagementToken: gatehouse.NewSecret(token)}
	return nil
}
