package gatehouse_test

import (
	"sync"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/testkit/opserver"
)

// providerKeys are the keys of all providers in these tests: an RSA key takes
// longer to make than most tests to run.
var providerKeys = sync.OnceValue(func() []jose.JSONWebKey {
	keys, err := opserver.MakeKeys()
	if err != nil {
		panic(err)
	}
	return keys
})
