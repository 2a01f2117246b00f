package token

// protocolClaims are the claims about the token, the sign-in and the session at
// the provider, rather than about the person (RFC 7519 §4.1; OpenID Connect
// Core §2, §3.3.2.11; Front-Channel Logout §3; RFC 7800 §3.1). Only an ID Token
// can say them.
var protocolClaims = map[string]bool{
	"iss": true, "aud": true, "exp": true, "iat": true, "nbf": true, "jti": true,
	"auth_time": true, "nonce": true, "acr": true, "amr": true, "azp": true, "at_hash": true, "c_hash": true, "s_hash": true,
	"sid": true, "cnf": true, "typ": true, "session_state": true,
}

// IsProtocolClaim reports whether the claim of that name is about the token or
// the sign-in. "sub" is not: it is the person.
func IsProtocolClaim(name string) bool { return protocolClaims[name] }
