package gatehouse

// Tested in internal/e2e/registration.

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/strictjson"
)

// ClientMetadata is what a client says about itself when it registers (RFC 7591
// §2, OpenID Connect Registration §2, and the logout specifications). A field
// that is nil or "" is not sent. A list that is empty but not nil is not sent
// either, and keeps RegistrationConfig.Defaults out.
//
// It is read from and written as JSON with the names of the specifications. It
// also reads the names that oxd had for them, those of its calls and those of its
// own files: with "client_" before them, "authorization_redirect_uri",
// "post_logout_redirect_uri", "logout_redirect_uri", "acr_values" and others; and
// one text for a list, and a list for one text. Empty texts count as absent.
type ClientMetadata struct {
	RedirectURIs           []string        // redirect_uris; each RelyingPartyConfig.RedirectURL has to be one
	ResponseTypes          []string        // response_types, each RelyingPartyConfig.ResponseType; nil means "code", or none if GrantTypes sign nobody in
	GrantTypes             []string        // grant_types; nil means those of ResponseTypes: "authorization_code" and "refresh_token", "implicit"
	Scopes                 []string        // scope
	ApplicationType        string          // application_type: "web" or "native"
	ClientName             string          // client_name; names in other languages are in Extra, as "client_name#de"
	ClientURI              string          // client_uri
	LogoURI                string          // logo_uri
	PolicyURI              string          // policy_uri
	TOSURI                 string          // tos_uri
	Contacts               []string        // contacts
	SoftwareID             string          // software_id
	SoftwareVersion        string          // software_version
	SubjectType            string          // subject_type: "public" or "pairwise"
	SectorIdentifierURI    string          // sector_identifier_uri
	JWKSURI                string          // jwks_uri
	JWKS                   json.RawMessage // jwks
	RequestURIs            []string        // request_uris
	InitiateLoginURI       string          // initiate_login_uri
	PostLogoutRedirectURIs []string        // post_logout_redirect_uris

	FrontchannelLogoutURI             string   // frontchannel_logout_uri
	FrontchannelLogoutURIs            []string // frontchannel_logout_uris, of Gluu
	FrontchannelLogoutSessionRequired *bool    // frontchannel_logout_session_required
	BackchannelLogoutURI              string   // backchannel_logout_uri
	BackchannelLogoutSessionRequired  *bool    // backchannel_logout_session_required

	// TokenEndpointAuthMethod is how the client authenticates. "" means what the
	// provider's metadata lists: AuthBasic before AuthPost before AuthSecretJWT.
	// AuthPrivateKeyJWT needs Client.Key, and JWKSURI or JWKS for the provider.
	TokenEndpointAuthMethod   AuthMethod
	TokenEndpointAuthAlg      string // token_endpoint_auth_signing_alg
	IDTokenSignedResponseAlg  string // id_token_signed_response_alg
	UserInfoSignedResponseAlg string // userinfo_signed_response_alg

	DefaultMaxAge      *int64   // default_max_age, in seconds
	RequireAuthTime    *bool    // require_auth_time
	DefaultACRValues   []string // default_acr_values
	UILocales          []string // ui_locales, of oxd
	ClaimsLocales      []string // claims_locales, of oxd
	ClaimsRedirectURIs []string // claims_redirect_uri, of Gluu's UMA
	TrustedClient      *bool    // trusted_client, of oxd: the provider asks nobody to agree

	// Extra are members that have no field, by their names.
	Extra map[string]json.RawMessage
}

// metadataMember is a field and its name on the wire.
type metadataMember struct {
	name string
	at   any // a pointer to the field
}

const (
	memberScope     = "scope"
	memberRedirects = "redirect_uris"
)

// members lists the fields.
func (m *ClientMetadata) members() []metadataMember {
	return []metadataMember{
		{memberRedirects, &m.RedirectURIs}, {"response_types", &m.ResponseTypes}, {"grant_types", &m.GrantTypes},
		{memberScope, &m.Scopes}, {"application_type", &m.ApplicationType}, {"client_name", &m.ClientName},
		{"client_uri", &m.ClientURI}, {"logo_uri", &m.LogoURI}, {"policy_uri", &m.PolicyURI}, {"tos_uri", &m.TOSURI},
		{"contacts", &m.Contacts}, {"software_id", &m.SoftwareID}, {"software_version", &m.SoftwareVersion},
		{"subject_type", &m.SubjectType}, {"sector_identifier_uri", &m.SectorIdentifierURI},
		{"jwks_uri", &m.JWKSURI}, {"jwks", &m.JWKS}, {"request_uris", &m.RequestURIs},
		{"initiate_login_uri", &m.InitiateLoginURI}, {"post_logout_redirect_uris", &m.PostLogoutRedirectURIs},
		{"frontchannel_logout_uri", &m.FrontchannelLogoutURI}, {"frontchannel_logout_uris", &m.FrontchannelLogoutURIs},
		{"frontchannel_logout_session_required", &m.FrontchannelLogoutSessionRequired},
		{"backchannel_logout_uri", &m.BackchannelLogoutURI}, {"backchannel_logout_session_required", &m.BackchannelLogoutSessionRequired},
		{"token_endpoint_auth_method", &m.TokenEndpointAuthMethod}, {"token_endpoint_auth_signing_alg", &m.TokenEndpointAuthAlg},
		{"id_token_signed_response_alg", &m.IDTokenSignedResponseAlg}, {"userinfo_signed_response_alg", &m.UserInfoSignedResponseAlg},
		{"default_max_age", &m.DefaultMaxAge}, {"require_auth_time", &m.RequireAuthTime}, {"default_acr_values", &m.DefaultACRValues},
		{"ui_locales", &m.UILocales}, {"claims_locales", &m.ClaimsLocales}, {"claims_redirect_uri", &m.ClaimsRedirectURIs},
		{"trusted_client", &m.TrustedClient},
	}
}

// oxdNames are the members of oxd that have another name today. What they hold
// comes before what the list has already.
var oxdNames = map[string]string{
	"authorization_redirect_uri":             memberRedirects,
	"redirect_uri":                           memberRedirects,
	"post_logout_redirect_uri":               "post_logout_redirect_uris",
	"logout_redirect_uri":                    "post_logout_redirect_uris",
	"logout_redirect_uris":                   "post_logout_redirect_uris",
	"acr_values":                             "default_acr_values",
	"client_jwks_uri":                        "jwks_uri",
	"client_request_uris":                    "request_uris",
	"client_sector_identifier_uri":           "sector_identifier_uri",
	"client_frontchannel_logout_uri":         "frontchannel_logout_uri",
	"client_frontchannel_logout_uris":        "frontchannel_logout_uris",
	"client_logout_uris":                     "frontchannel_logout_uris",
	"front_channel_logout_uris":              "frontchannel_logout_uris",
	"front_channel_logout_session_required":  "frontchannel_logout_session_required",
	"client_token_endpoint_auth_method":      memberAuthMethod,
	"client_token_endpoint_auth_signing_alg": "token_endpoint_auth_signing_alg",
	"user_info_signed_response_alg":          "userinfo_signed_response_alg",
	"response_type":                          "response_types",
	"grant_type":                             "grant_types",
	"scopes":                                 memberScope,
}

// notMetadata are members that the provider sets (RFC 7591 §3.2.1), or that say
// something to oxd. A request must not have them (RFC 7592 §2.2).
var notMetadata = []string{
	"client_id", "client_secret", "client_id_issued_at", "client_secret_expires_at",
	"registration_access_token", "registration_client_uri", "software_statement",
	"client_registration_access_token", "client_registration_client_uri", // as oxd called them
	"op_host", "oxd_id",
}

// toOxd are members that were meant for oxd and not for a provider. The token is
// one for oxd's own door.
var toOxd = []string{"op_host", "op_discovery_path", "oxd_id", "oxd_rp_programming_language", "protection_access_token"}

// MarshalJSON returns the members that are set.
func (m ClientMetadata) MarshalJSON() ([]byte, error) {
	all, err := m.wire()
	if err != nil {
		return nil, err
	}
	return json.Marshal(all)
}

// wire returns the members that are set, each by its name.
func (m *ClientMetadata) wire() (map[string]json.RawMessage, error) {
	all := map[string]json.RawMessage{}
	for name, value := range m.Extra {
		if value != nil {
			all[name] = value
		}
	}
	for _, one := range m.members() {
		v := reflect.ValueOf(one.at).Elem()
		if v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0 {
			continue
		}
		value := v.Interface()
		if one.name == memberScope {
			value = strings.Join(m.Scopes, " ") // RFC 7591 §2
		}
		text, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("%s: it is no JSON", one.name)
		}
		all[one.name] = text
	}
	if len(m.ResponseTypes) == 0 && m.signsNobodyIn() {
		all["response_types"] = json.RawMessage("[]") // left out, it would mean "code" (RFC 7591 §2)
	}
	return all, nil
}

// UnmarshalJSON reads one JSON object. Members without a field are kept in Extra.
// Members that only a provider sets, such as client_secret, are an error if they
// have a value, and so is a value of another type.
func (m *ClientMetadata) UnmarshalJSON(text []byte) error {
	var said map[string]json.RawMessage
	if err := strictjson.Unmarshal(text, &said); err != nil {
		return err
	}
	var next ClientMetadata
	fields := map[string]any{}
	for _, one := range next.members() {
		fields[one.name] = one.at
	}
	for _, name := range slices.Sorted(maps.Keys(said)) { // oxd's names after "authorization…" come first or add to a list
		value := said[name]
		if blank(value) {
			continue
		}
		today := name
		if other, old := oxdNames[name]; old {
			today = other
		}
		switch at, has := fields[today]; {
		case has:
			if err := readMember(at, value, today == memberScope); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		case slices.Contains(toOxd, name):
		case slices.Contains(notMetadata, name):
			return fmt.Errorf("%s: it is no metadata: only a provider sets it", name)
		default:
			if next.Extra == nil {
				next.Extra = map[string]json.RawMessage{}
			}
			next.Extra[name] = value
		}
	}
	*m = next
	return nil
}

// blank reports whether a value says nothing: null, "", and lists of that.
func blank(value json.RawMessage) bool {
	var list []json.RawMessage
	if json.Unmarshal(value, &list) == nil {
		return !slices.ContainsFunc(list, func(v json.RawMessage) bool { return !blank(v) })
	}
	return string(value) == "null" || string(value) == `""`
}

var (
	errWantText = errors.New("it is no text")
	errWantList = errors.New("it is no list of texts")
	errWantBool = errors.New("it is neither true nor false")
	errWantInt  = errors.New("it is no whole number")
)

// readMember reads a value into a field. A list that has something already keeps
// it.
func readMember(at any, value json.RawMessage, words bool) error {
	texts, isText := textsOf(value)
	switch at := at.(type) {
	case *string:
		if !isText || len(texts) != 1 {
			return errWantText
		}
		*at = texts[0]
	case *AuthMethod:
		if !isText || len(texts) != 1 {
			return errWantText
		}
		*at = AuthMethod(texts[0])
	case *[]string:
		if !isText {
			return errWantList
		}
		for _, text := range texts {
			one := []string{text}
			if words {
				one = strings.Fields(text)
			}
			for _, text := range one {
				if !slices.Contains(*at, text) {
					*at = append(*at, text)
				}
			}
		}
	case **bool:
		if json.Unmarshal(value, at) != nil {
			return errWantBool
		}
	case **int64:
		if json.Unmarshal(value, at) != nil {
			return errWantInt
		}
	case *json.RawMessage:
		*at = slices.Clone(value)
	}
	return nil
}

// textsOf returns a text, or a list of texts without the empty ones.
func textsOf(value json.RawMessage) (texts []string, ok bool) {
	var one string
	if json.Unmarshal(value, &one) == nil {
		return []string{one}, true
	}
	ok = json.Unmarshal(value, &texts) == nil
	return slices.DeleteFunc(texts, func(t string) bool { return t == "" }), ok
}

// with returns the metadata with what it leaves open taken from others.
func (m ClientMetadata) with(others ClientMetadata) ClientMetadata {
	if len(m.JWKS) > 0 || m.JWKSURI != "" { // keys are in one of them alone
		others.JWKS, others.JWKSURI = nil, ""
	}
	from := others.members()
	for i, one := range m.members() {
		if v := reflect.ValueOf(one.at).Elem(); v.IsZero() {
			v.Set(reflect.ValueOf(from[i].at).Elem())
		}
	}
	m.own()
	extra := maps.Clone(others.Extra)
	if extra == nil {
		extra = map[string]json.RawMessage{}
	}
	maps.Copy(extra, m.Extra)
	m.Extra = extra
	return m
}

// own makes copies of what the fields point to, so that nobody changes them later.
func (m *ClientMetadata) own() {
	for _, one := range m.members() {
		switch at := one.at.(type) {
		case *[]string:
			*at = slices.Clone(*at)
		case *json.RawMessage:
			*at = slices.Clone(*at)
		case **bool:
			*at = copied(*at)
		case **int64:
			*at = copied(*at)
		}
	}
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	return new(*p)
}

// complete checks the metadata and fills in what a sign-in needs.
func (m *ClientMetadata) complete() (wrong problems) {
	switch {
	case m.GrantTypes == nil && len(m.ResponseTypes) > 0:
		m.GrantTypes = grantTypesOf(m.ResponseTypes...)
	case m.GrantTypes == nil:
		m.GrantTypes = grantTypesOf("code")
	}
	if m.ResponseTypes == nil && !m.signsNobodyIn() {
		m.ResponseTypes = []string{"code"}
	}
	for i, address := range m.RedirectURIs {
		_, err := outbound.CheckURL(address, true)
		wrong.wrap(fmt.Sprintf("Metadata.RedirectURIs[%d]", i), err)
	}
	for _, grant := range []string{grantTypeCode, grantTypeImplicit} { // both send people back
		if len(m.RedirectURIs) == 0 && slices.Contains(m.GrantTypes, grant) {
			wrong.add("Metadata.RedirectURIs", "empty, but GrantTypes have %s", grant)
		}
	}
	if m.TokenEndpointAuthMethod != "" && !m.canProve(string(m.TokenEndpointAuthMethod)) {
		wrong.add("Metadata.TokenEndpointAuthMethod", "%q is no method that gatehouse can do for a registered client", clip(string(m.TokenEndpointAuthMethod)))
	}
	if m.TokenEndpointAuthMethod == AuthPrivateKeyJWT && len(m.JWKS) == 0 && m.JWKSURI == "" {
		wrong.add("Metadata.JWKSURI", "empty, and so are JWKS: the provider could not check what private_key_jwt signs")
	}
	var keys jose.JSONWebKeySet
	switch {
	case len(m.JWKS) > 0 && json.Unmarshal(m.JWKS, &keys) != nil:
		wrong.add("Metadata.JWKS", "it is no JWK Set")
	case slices.ContainsFunc(keys.Keys, func(k jose.JSONWebKey) bool { return !k.IsPublic() }):
		wrong.add("Metadata.JWKS", "it has a key that is not public")
	}
	if len(m.JWKS) > 0 && m.JWKSURI != "" { // RFC 7591 §2: they must not be there together
		wrong.add("Metadata.JWKS", "set together with JWKSURI")
	}
	for _, name := range slices.Sorted(maps.Keys(m.Extra)) {
		switch {
		case slices.Contains(notMetadata, name):
			wrong.add("Metadata.Extra", "%q is no metadata: only a provider sets it", clip(name))
		case slices.ContainsFunc(m.members(), func(one metadataMember) bool { return one.name == name }):
			wrong.add("Metadata.Extra", "%q has a field", clip(name))
		case !json.Valid(m.Extra[name]):
			wrong.add("Metadata.Extra", "%q is no JSON", clip(name))
		}
	}
	if _, err := m.wire(); err != nil {
		wrong.wrap("Metadata", err)
	}
	return wrong
}

const (
	grantTypeCode        = "authorization_code"
	grantTypeRefresh     = "refresh_token"
	grantTypeImplicit    = "implicit"
	grantTypeCredentials = "client_credentials"
)

// grantTypesOf returns the grant types that go with response types (OpenID Connect
// Registration §2).
func grantTypesOf(responseTypes ...string) (grants []string) {
	words := strings.Fields(strings.Join(responseTypes, " "))
	if slices.Contains(words, "code") {
		grants = append(grants, grantTypeCode, grantTypeRefresh)
	}
	if slices.Contains(words, "id_token") || slices.Contains(words, "token") {
		grants = append(grants, grantTypeImplicit)
	}
	return grants
}

// signsNobodyIn reports whether the client has grant types, and none with which a
// person is sent to the provider.
func (m *ClientMetadata) signsNobodyIn() bool {
	return len(m.GrantTypes) > 0 && !slices.Contains(m.GrantTypes, grantTypeCode) && !slices.Contains(m.GrantTypes, grantTypeImplicit)
}

// canProve reports whether a registered client can authenticate by a method. One
// without a key cannot sign.
func (m *ClientMetadata) canProve(method string) bool {
	switch AuthMethod(method) {
	case AuthBasic, AuthPost, AuthSecretJWT, AuthNone:
		return true
	case AuthPrivateKeyJWT:
		return m.TokenEndpointAuthMethod == AuthPrivateKeyJWT
	}
	return false
}
