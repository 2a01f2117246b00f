package umacases

import "slices"

// Cases are the table.
func Cases() []Case {
	return slices.Concat(metadataCases(), patCases(), resourceCases(), updateCases(), listCases(), permissionCases(), ticketCases(), claimCases(),
		grantCases(), upgradeCases(), introspectionCases(), lifeCases())
}

const (
	album = `{"name":"$name","type":"https://photoz/album","icon_uri":"https://photoz/i.png","resource_scopes":["view","print","delete"],"ownerManagedAccess":true}`
	// asBob pushes bob's ID Token. quietly keeps a Keycloak from asking the
	// owner.
	ticketGrant = "grant_type=$uma ticket=$t"
	asBob       = " claim_token=$bob.id claim_token_format=$format"
	quietly     = " submit_request=false"
	hint        = "token_type_hint=requesting_party_token "
)

// register makes alice's album and leaves its id in id.
func register() Step {
	return Step{Do: "POST resource", As: "pat alice", JSON: album, Want: "201 _id>id"}
}

// ticketFor requests a ticket with alice's PAT and leaves it in t.
func ticketFor(permissions string) Step {
	return Step{Do: "POST permission", As: "pat alice", JSON: permissions, Want: "201 ticket>t"}
}

// exchange presents t as the print shop.
func exchange(form, want, keycloak string) Step {
	return Step{Do: "POST token", As: "client printshop", Form: form, Want: want, Keycloak: keycloak}
}

// introspect makes the request as photoz, with its client authentication.
func introspect(form, want, keycloak string) Step {
	return Step{Do: "POST introspect", As: "client photoz", Form: form, Want: want, Keycloak: keycloak}
}

const view = `[{"resource_id":"$id","resource_scopes":["view"]}]`

func metadataCases() []Case {
	return []Case{
		{"K16 metadata", []Step{{Do: "GET uma",
			Want:     "200 issuer=$issuer permission_endpoint resource_registration_endpoint introspection_endpoint token_endpoint claims_interaction_endpoint revocation_endpoint uma_profiles_supported !policy_endpoint @Cache-Control",
			Keycloak: "200 issuer=$issuer permission_endpoint resource_registration_endpoint introspection_endpoint token_endpoint !claims_interaction_endpoint !revocation_endpoint !uma_profiles_supported policy_endpoint @Cache-Control"}}},
	}
}

func patCases() []Case {
	// Everything that is not a PAT, at the three endpoints of the protection
	// API.
	places := func(as, want, keycloak, ticketKeycloak string) []Step {
		return []Step{
			{Do: "GET resource", As: as, Want: want, Keycloak: keycloak},
			{Do: "POST resource", As: as, JSON: album, Want: want, Keycloak: keycloak},
			{Do: "GET resource/nope", As: as, Want: want, Keycloak: keycloak},
			{Do: "POST permission", As: as, JSON: `[{"resource_id":"nope","resource_scopes":["view"]}]`, Want: want, Keycloak: ticketKeycloak},
		}
	}
	return []Case{
		{"K1 PAT by client credentials", []Step{
			{Do: "POST token", As: "client photoz", Form: "grant_type=client_credentials scope=uma_protection",
				Want: "200 access_token expires_in token_type=Bearer", Keycloak: "400 error=invalid_scope"},
			{Do: "POST token", As: "client photoz", Form: "grant_type=client_credentials", Want: "200 access_token>x expires_in token_type=Bearer"},
			{Do: "GET resource", As: "bearer $x", Want: "403 error=insufficient_scope @WWW-Authenticate", Keycloak: "200"},
		}},
		{"K1 no PAT", places("", "401 error=invalid_token @WWW-Authenticate",
			"403 error=invalid_bearer_token !@WWW-Authenticate", "403 error=invalid_bearer_token !@WWW-Authenticate")},
		{"K1 junk for a PAT", places("bearer junk", "401 error=invalid_token @WWW-Authenticate",
			"403 error=invalid_bearer_token !@WWW-Authenticate", "403 error=invalid_bearer_token")},
		{"K1 PAT without scope or role", places("bearer $bob.access@photoz", "403 error=insufficient_scope",
			"403 error=invalid_scope", "400 error=invalid_resource_id")}, // tickets do not need the role
		{"K1 PAT of another client", places("bearer $service.access", "403 error=insufficient_scope",
			"403 error=invalid_clientId", "403 error=invalid_clientId")},
		{"K1 a revoked PAT", []Step{
			{Do: "POST revoke", As: "client photoz", Form: "token=$alice.access@photoz", Want: "200"},
			{Do: "GET resource", As: "pat alice", Want: "401 error=invalid_token", Keycloak: "403 error=invalid_bearer_token"},
		}},
		{"client authentication for a PAT", []Step{{Do: "GET resource", As: "client photoz",
			Want: "401 error=invalid_token", Keycloak: "401 error=HTTP_401_Unauthorized"}}},
		{"K15 who is the client", []Step{
			{Do: "POST token", As: "client photoz wrong", Form: "grant_type=client_credentials", Want: "401 error=invalid_client", Keycloak: "401 error=unauthorized_client !@WWW-Authenticate"},
			{Do: "POST token", As: "client nobody", Form: "grant_type=client_credentials", Want: "401 error=invalid_client"},
			{Do: "POST token", Form: "grant_type=client_credentials", Want: "401 error=invalid_client"},
			{Do: "POST token", As: "client photoz", Form: "grant_type=made-up", Want: "400 error=unsupported_grant_type"},
			{Do: "POST token", As: "client photoz", Form: "x=y", Want: "400 error=invalid_request"},
		}},
	}
}

func resourceCases() []Case {
	create := func(body, want, keycloak string) Step {
		return Step{Do: "POST resource", As: "pat alice", JSON: body, Want: want, Keycloak: keycloak}
	}
	byService := func(body, want, keycloak string) Step {
		return Step{Do: "POST resource", As: "pat service", JSON: body, Want: want, Keycloak: keycloak}
	}
	read := func(want, keycloak string) Step {
		return Step{Do: "GET resource/$id", As: "pat alice", Want: want, Keycloak: keycloak}
	}
	return []Case{
		{"K2 K5 register and read", []Step{
			create(album, "201 _id>id @Location user_access_policy_uri !resource_scopes !owner",
				"201 _id>id !@Location !user_access_policy_uri name=$name type icon_uri ownerManagedAccess=true owner.id owner.name=alice resource_scopes=delete,print,view resource_scopes.0.id uris"),
			read("200 _id=$id name=$name resource_scopes=delete,print,view resource_scopes.0=view user_access_policy_uri",
				"200 _id=$id name=$name resource_scopes=delete,print,view resource_scopes.0.name !resource_scopes.0.id owner.id !owner.name attributes !user_access_policy_uri"),
		}},
		{"a slash at the end of the collection", []Step{
			{Do: "POST resource/", As: "pat alice", JSON: album, Want: "201 _id"}, {Do: "GET resource/", As: "pat alice", Want: "200 0"}}},
		{"K4 the name is taken", []Step{register(), create(album, "201 _id", "409 error=invalid_request")}},
		{"K4 without a name", []Step{create(`{"resource_scopes":["view"]}`, "201 _id", "409 error=conflict")}},
		{"names are told apart by case", []Step{register(), create(`{"name":"$name","resource_scopes":["view"]}`, "201 _id", "409"),
			create(`{"name":"X$name","resource_scopes":["view"]}`, "201 _id>upper", ""), create(`{"name":"x$name","resource_scopes":["view"]}`, "201 _id>lower", "")}},
		{"K5 a description", []Step{
			create(`{"name":"$name","description":"text","resource_scopes":["view"]}`, "201 _id", "400 !error_description"),
			create(`{"name":"x$name","made_up":"text","resource_scopes":["view"]}`, "201 _id", "400 error"),
			create(`{"name":"y$name","name#fr":"text","resource_scopes":["view"]}`, "201 _id", "400 error"),
		}},
		// The service does this, because the pages of a Keycloak stop showing a
		// person's resources if one of them has no scopes.
		{"scopes are missing or empty", []Step{
			byService(`{"name":"$name"}`, "400 error=invalid_request", "201 resource_scopes="),
			byService(`{"name":"x$name","resource_scopes":[]}`, "201 _id", "201 _id resource_scopes="),
			byService(`{"name":"y$name","resource_scopes":["view","view"]}`, "400 error=invalid_request", "201 resource_scopes=view"),
			byService(`{"name":"z$name","resource_scopes":[{"name":"view"}]}`, "400 error=invalid_request", "201 resource_scopes=view"),
		}},
		{"not a description", []Step{
			create(`{"name":"$name","resource_scopes":"view"}`, "400 error=invalid_request", "400 error=unknown_error"),
			create(`{"name":{},"resource_scopes":["view"]}`, "400 error=invalid_request", "400 error=unknown_error"),
			create(`{"name":`, "400 error=invalid_request", ""),
			create(`[]`, "400 error=invalid_request", "400 error=unknown_error"),
			{Do: "POST resource", As: "pat alice", Form: "name=x", Want: "400 error=invalid_request", Keycloak: "415"},
		}},
		{"a member comes twice", []Step{create(`{"name":"$name","name":"x$name","resource_scopes":["view"]}`, "400 error=invalid_request", "201 name=x$name")}},
		{"a chosen id, and the same by another", []Step{
			create(`{"_id":"id-$name","name":"$name","resource_scopes":["view"]}`, "201 _id>id", "201 _id=id-$name"),
			byService(`{"_id":"id-$name","name":"x$name","resource_scopes":["print"]}`, "201 _id", "201 _id=id-$name owner.name=alice name=x$name"),
		}},
		{"K6 the owner is the PAT's, whatever is asked", []Step{
			{Do: "POST resource", As: "pat service", JSON: `{"name":"$name","owner":"alice","resource_scopes":["view"]}`, Want: "201 _id", Keycloak: "201 owner.name=photoz"}}},
	}
}

func updateCases() []Case {
	create := func(body, want, keycloak string) Step {
		return Step{Do: "POST resource", As: "pat service", JSON: body, Want: want, Keycloak: keycloak}
	}
	change := func(body, want, keycloak string) Step {
		return Step{Do: "PUT resource/$id", As: "pat service", JSON: body, Want: want, Keycloak: keycloak}
	}
	read := func(want, keycloak string) Step {
		return Step{Do: "GET resource/$id", As: "pat service", Want: want, Keycloak: keycloak}
	}
	return []Case{
		{"K3 update", []Step{create(album, "201 _id>id", ""),
			change(album, "200 _id=$id", "204 !_id"),
			change(`{"name":"$name","resource_scopes":["view","frame"]}`, "200 _id=$id", "204"),
			read("200 resource_scopes=frame,view !type !icon_uri", "200 resource_scopes=frame,view !type !icon_uri ownerManagedAccess=false owner.id"),
			change(`{"name":"$name"}`, "400 error=invalid_request", "204"),
			change(`{"resource_scopes":["view"]}`, "200", "500"),
			change(`{"name":"$name","description":"text","resource_scopes":["view"]}`, "200", "400"),
			read("200 description=text", "200 !description resource_scopes="),
		}},
		// What is sent back stays, as far as the server keeps it at all.
		{"K26 what an update leaves out", []Step{
			create(`{"name":"$name","displayName":"Mine","uris":["/a"],"attributes":{"k":["v"]},"icon_uri":"https://photoz.example/i","resource_scopes":["view","print"]}`, "201 _id>id", ""),
			change(`{"name":"$name","displayName":"Mine","uris":["/a"],"attributes":{"k":["v"]},"icon_uri":"https://photoz.example/i","ownerManagedAccess":false,"resource_scopes":["view","print","frame"]}`, "200", "204"),
			read("200 displayName=Mine uris=/a attributes.k=v icon_uri=https://photoz.example/i resource_scopes=frame,print,view", ""),
			change(`{"name":"$name","resource_scopes":["view"]}`, "200", "204"),
			read("200 !displayName !uris !attributes !icon_uri", "200 !displayName uris= attributes.k=v !icon_uri resource_scopes=view"),
		}},
		{"K4 a taken name by update", []Step{create(album, "201 _id>id", ""), create(`{"name":"x$name","resource_scopes":["view"]}`, "201", ""),
			change(`{"name":"x$name","resource_scopes":["view"]}`, "200", "409 error=conflict")}},
		{"what is not there", []Step{
			{Do: "GET resource/nope", As: "pat alice", Want: "404 error=not_found"},
			{Do: "PUT resource/nope", As: "pat alice", JSON: album, Want: "404 error=not_found"},
			{Do: "DELETE resource/nope", As: "pat alice", Want: "404 error=not_found"},
			{Do: "PATCH resource/nope", As: "pat alice", JSON: album, Want: "405 error=unsupported_method_type", Keycloak: "405 error=HTTP_405_Method_Not_Allowed"},
		}},
		{"delete", []Step{register(), {Do: "DELETE resource/$id", As: "pat alice", Want: "204"},
			{Do: "GET resource/$id", As: "pat alice", Want: "404 error=not_found"}, {Do: "DELETE resource/$id", As: "pat alice", Want: "404 error=not_found"}}},
		{"K6 a person and what is not hers", []Step{
			{Do: "POST resource", As: "pat service", JSON: album, Want: "201 _id>id"},
			{Do: "GET resource/$id", As: "pat alice", Want: "404 error=not_found", Keycloak: "403 error=forbidden"},
			{Do: "PUT resource/$id", As: "pat alice", JSON: album, Want: "404 error=not_found", Keycloak: "403 error=forbidden"},
			{Do: "DELETE resource/$id", As: "pat alice", Want: "404 error=not_found", Keycloak: "403 error=forbidden"},
		}},
		{"K6 the service and what is a person's", []Step{register(),
			{Do: "GET resource/$id", As: "pat service", Want: "404 error=not_found", Keycloak: "200 _id=$id"},
			{Do: "PUT resource/$id", As: "pat service", JSON: album, Want: "404 error=not_found", Keycloak: "204"},
			{Do: "DELETE resource/$id", As: "pat service", Want: "404 error=not_found", Keycloak: "204"},
		}},
	}
}

func listCases() []Case {
	list := func(query, as, want string) Step {
		return Step{Do: "GET resource?" + query, As: as, Want: "200", Keycloak: want}
	}
	more := Step{Do: "POST resource", As: "pat alice", JSON: `{"name":"more $name","resource_scopes":["view"]}`, Want: "201 _id>other"}
	return []Case{
		{"list", []Step{register(), {Do: "GET resource", As: "pat alice", Want: "200 0"}}},
		{"K7 a name is a pattern", []Step{register(), more,
			list("name=more+$name", "pat alice", "200 =$other"), list("name=$name&exactName=true", "pat alice", "200 =$id"),
			list("name=MORE+$name&exactName=true", "pat alice", "200 =$other"), list("name=no+$name", "pat alice", "200 =")}},
		{"K7 filters", []Step{register(),
			list("name=$name&exactName=true&owner=alice&max=-1", "pat service", "200 =$id"),
			list("name=$name&exactName=true&owner=photoz", "pat service", "200 ="),
			list("name=$name&exactName=true&scope=print", "pat alice", "200 =$id"), list("name=$name&exactName=true&scope=fly", "pat alice", "200 ="),
			list("name=$name&exactName=true&type=https://photoz/album", "pat alice", "200 =$id"),
			list("name=$name&exactName=true&max=0", "pat alice", "200"), list("_id=$id", "pat alice", "200 =$id"),
			list("name=$name&exactName=true&deep=true", "pat alice", "200 0._id=$id 0.owner.name=alice"),
		}},
	}
}
