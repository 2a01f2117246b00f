// Package servers installs real OpenID and UMA servers and a browser by name,
// starts them on 127.0.0.1 for a test, and stops them afterwards.
//
//   - [StartOIDCProvider]: npm's oidc-provider, an OpenID provider per test.
//   - [Pool.Keycloak]: Keycloak, an OpenID provider and UMA authorization server,
//     one for all tests of a process because its start takes seconds.
//   - [StartDex]: Dex, an OpenID provider per test, built without its connectors.
//   - [StartGlewlwyd], [StartLemonLDAP]: Debian's Glewlwyd and LemonLDAP::NG, an
//     OpenID provider per test.
//   - [StartApache], [StartExpress]: mod_auth_openidc and express-openid-connect,
//     relying parties to try our own provider with.
//   - [StartWebFinger]: Apache over TLS, a host that names the provider of an account.
//   - [StartChromium]: headless Chromium, driven by chromedp and checked by axe-core.
//
// Whatever is missing is installed at first use, below the directory .servers
// of the interop module; [Install] does the same ahead of time. Several
// processes may do so at once. Nothing is taken from the network but by npm,
// Maven, go and apt-get, and what the first three bring is compared with a hash
// that is kept here. It needs Linux or macOS, Node 20, Java 17 and Maven; for
// [StartApache], [StartGlewlwyd] and [StartLemonLDAP], Debian or one of its kin.
//
// A helper that cannot do its work fails the test that called it, with the
// reason and the end of the server's log. It never skips.
package servers
