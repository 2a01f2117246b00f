module example.com/gatehouse/bench

go 1.26.0

require (
	example.com/gatehouse v0.0.0-00010101000000-000000000000
	github.com/alexedwards/scs/v2 v2.9.0
	github.com/coreos/go-oidc/v3 v3.21.0
	github.com/go-jose/go-jose/v4 v4.1.8
)

require golang.org/x/oauth2 v0.37.0 // indirect

replace example.com/gatehouse => ../
