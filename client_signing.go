package gatehouse

// Tested in internal/e2e/registration.

// signing returns what the provider has agreed to sign ID Tokens and user info of
// the client id with, "" for anything that it lists (OpenID Connect Registration
// §2). It does no I/O.
func (c *Client) signing(id string) (idToken, userInfo string) {
	if c.Registration == nil {
		return "", ""
	}
	if had := c.Registration.now.Load(); had != nil {
		if one := had.record.Find(id); one != nil {
			return one.Signing, one.Info
		}
	}
	return "", ""
}
