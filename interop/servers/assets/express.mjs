// A site on 127.0.0.1 whose page /private is behind npm's express-openid-connect, for the interop tests.
//
// Its port and client come as JSON in RP_CONFIG, see express.go. The page shows the claims of the ID Token and of user info.
// /logout signs out, here and at the provider. When it listens it writes "ready" to standard output.
import express from 'express';
import eoc from 'express-openid-connect';
import { randomBytes } from 'node:crypto';

const { auth, requiresAuth } = eoc;
const { port, issuer, clientID, clientSecret } = JSON.parse(process.env.RP_CONFIG);

const app = express();
app.use(auth({
  issuerBaseURL: issuer, baseURL: `http://127.0.0.1:${port}`, clientID, clientSecret,
  secret: randomBytes(32).toString('hex'), authRequired: false, idpLogout: true, httpTimeout: 30000,
  authorizationParams: { response_type: 'code', response_mode: 'query', scope: 'openid profile email' },
}));
app.get('/', (req, res) => res.json({ public: true }));
app.get('/private', requiresAuth(), async (req, res) => {
  const info = await req.oidc.fetchUserInfo();
  res.json({ sub: req.oidc.user.sub, email: info.email });
});
// Without it Express writes the stack into the page.
app.use((err, req, res, next) => { // eslint-disable-line no-unused-vars
  console.error(`${req.path}: ${err.message}`, err.cause?.code ?? '', err.cause?.message ?? '');
  res.status(err.status ?? err.statusCode ?? 500).json({ error: err.message });
});
const server = app.listen(port, '127.0.0.1', (err) => {
  if (err) throw err;
  console.log('ready');
});
process.on('SIGTERM', () => { server.closeAllConnections(); server.close(() => process.exit(0)); });
