package servers

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"example.com/gatehouse/internal/testkit/process"
)

// StartExpress starts a site behind npm's express-openid-connect, which is
// certified by the OpenID Foundation, for the time of the test.
func StartExpress(t testing.TB, register func(redirectURI string) RelyingPartyClient) *RelyingParty {
	t.Helper()
	rp := startRelyingParty(t, "express-openid-connect", register, startExpress)
	rp.SignOut, rp.SignedOut = rp.Base+"/logout", rp.Base
	return rp
}

func startExpress(ctx context.Context, port string, client RelyingPartyClient) (*process.Process, error) {
	dir, err := installDir()
	if err != nil {
		return nil, err
	}
	node, err := installNode(ctx, dir)
	if err != nil {
		return nil, err
	}
	settings, err := json.Marshal(map[string]string{"port": port, "issuer": client.Issuer,
		"clientID": client.ID, "clientSecret": client.Secret})
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("node", "express.mjs")
	cmd.Dir = node
	cmd.Env = append(os.Environ(), "RP_CONFIG="+string(settings))
	return process.Start(ctx, "express-openid-connect", cmd, func(line []byte) bool {
		return bytes.Equal(line, []byte("ready"))
	})
}
