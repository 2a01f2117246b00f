// An OpenID provider on 127.0.0.1 made of npm's oidc-provider, for the interop tests.
//
// It asks for a login (any name, any password) and a consent on pages of its own, keeps everything in memory and makes new
// keys at each start. Settings come as JSON in OP_CONFIG, see OIDCProviderConfig in oidcprovider.go. When it listens it
// writes one line to standard output: {"issuer":"http://127.0.0.1:PORT"}.
import http from 'node:http';
import { randomBytes } from 'node:crypto';
import { Provider, errors } from 'oidc-provider';
import { generateKeyPair, exportJWK } from 'jose';

// oidc-provider 9 calls URL.parse, which Node has from 22.1 on.
URL.parse ??= (url, base) => { try { return new URL(url, base); } catch { return null; } };

const config = JSON.parse(process.env.OP_CONFIG ?? '{}');

async function signingKeys() {
  const keys = [];
  for (const alg of ['RS256', 'ES256']) {
    const { privateKey } = await generateKeyPair(alg, { extractable: true });
    keys.push({ ...(await exportJWK(privateKey)), use: 'sig', alg, kid: `sig-${alg}` });
  }
  return { keys };
}

function account(ctx, id) {
  return {
    accountId: id,
    claims: () => ({
      sub: id, name: `User ${id}`, preferred_username: id, email: `${id}@example.test`, email_verified: true,
      ...config.elsewhere,
    }),
  };
}

// resourceServer says how the access tokens for a resource (RFC 8707) are made.
function resourceServer(ctx, indicator) {
  const found = (config.resources ?? []).find(({ uri }) => uri === indicator);
  if (!found) throw new errors.InvalidTarget();
  return {
    audience: indicator, scope: found.scope, accessTokenFormat: found.opaque ? 'opaque' : 'jwt',
    jwt: { sign: { alg: found.algorithm || 'RS256' } },
  };
}

async function provider(issuer) {
  const on = { enabled: true };
  return new Provider(issuer, {
    jwks: await signingKeys(),
    cookies: { keys: ['cookie-key-of-a-test-server'] },
    clients: config.clients ?? [],
    scopes: ['openid', 'offline_access', 'profile', 'email'],
    claims: {
      acr: null, sid: null, auth_time: null, iss: null, openid: ['sub'],
      profile: ['name', 'preferred_username', ...Object.keys(config.elsewhere?._claim_names ?? {})], email: ['email', 'email_verified'],
    },
    acrValues: ['urn:example:gold'],
    responseTypes: ['code', 'code id_token', 'id_token', 'id_token token', 'none'], // the fourth is not among its own
    pkce: { required: () => true },
    findAccount: account,
    // Its own rule is that a refresh token needs the scope offline_access, and that one prompt=consent.
    issueRefreshToken: (ctx, client, code) => client.grantTypeAllowed('refresh_token')
      && (config.alwaysRefresh || code.scopes.has('offline_access')),
    rotateRefreshToken: true,
    ttl: {
      AccessToken: config.accessTokenTTL ?? 300, IdToken: 300, AuthorizationCode: 60, ClientCredentials: 300,
      RefreshToken: 3600, Session: 3600, Grant: 3600, Interaction: 600,
    },
    // Its requests (back-channel logout, jwks_uri) refuse loopback addresses unless the dispatcher is left out.
    fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
    features: {
      dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => Boolean(config.proofNonce) },
      devInteractions: on, rpInitiatedLogout: on, backchannelLogout: on, introspection: on, revocation: on,
      clientCredentials: on, registration: on, registrationManagement: on, claimsParameter: on,
      resourceIndicators: { enabled: true, getResourceServerInfo: resourceServer },
    },
  });
}

function logRefusals(op) {
  for (const event of ['server_error', 'authorization.error', 'grant.error', 'introspection.error', 'revocation.error',
    'userinfo.error', 'backchannel.error', 'registration_create.error', 'end_session.error']) {
    op.on(event, (...args) => {
      const err = args.find((arg) => arg instanceof Error);
      console.error(event, err?.error ?? '', err?.error_description ?? err?.message ?? '', err?.error_detail ?? '',
        event === 'server_error' ? err?.stack : '');
    });
  }
}

// The server listens before the provider is made, so that the port it was given can be in the issuer.
const server = http.createServer();
server.listen(0, '127.0.0.1', async () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const op = await provider(issuer);
  logRefusals(op);
  server.on('request', op.callback());
  console.log(JSON.stringify({ issuer }));
});
process.on('SIGTERM', () => { server.closeAllConnections(); server.close(() => process.exit(0)); });
