package umacases

import "strings"

func permissionCases() []Case {
	ask := func(body, want, keycloak string) Step {
		return Step{Do: "POST permission", As: "pat alice", JSON: body, Want: want, Keycloak: keycloak}
	}
	return []Case{
		{"K10 a ticket", []Step{register(), ask(view, "201 ticket !jwt:", "201 ticket jwt:permissions.0.rsid=$id jwt:permissions.0.scopes=view jwt:exp jwt:azp=photoz jwt:aud=$issuer")}},
		{"K8 an object", []Step{register(), ask(`{"resource_id":"$id","resource_scopes":["view"]}`, "201 ticket", "400 error=unknown_error")}},
		{"K8 nothing is asked", []Step{ask(`[]`, "400 error=invalid_request", "400 error=invalid_permission_request"), ask(`null`, "400", "400 error=invalid_permission_request")}},
		{"not a permission", []Step{register(), ask(`"x"`, "400 error=invalid_request", "400 error=unknown_error"), ask(`{`, "400 error=invalid_request", "400 error=unknown_error"),
			ask(`[{"resource_id":"$id","resource_scopes":"view"}]`, "400 error=invalid_request", "400 error=unknown_error"),
			{Do: "POST permission", As: "pat alice", Form: "resource_id=$id", Want: "400 error=invalid_request", Keycloak: "415"}}},
		{"K8 without scopes", []Step{register(), ask(`[{"resource_id":"$id","resource_scopes":[]}]`, "201 ticket", "201 !jwt:permissions.0.scopes"),
			ask(`[{"resource_id":"$id"}]`, "400 error=invalid_request", "201 !jwt:permissions.0.scopes")}},
		{"K8 without a resource", []Step{register(), ask(`[{"resource_scopes":["view"]}]`, "400 error=invalid_request", "201 !jwt:permissions.0.rsid jwt:permissions.0.scopes=view"),
			ask(`[{}]`, "400 error=invalid_request", "400 error=invalid_resource_id"), ask(`[{"resource_scopes":["never heard"]}]`, "400 error=invalid_request", "400 error=invalid_scope")}},
		{"K8 a name for an id", []Step{register(), ask(`[{"resource_id":"$name","resource_scopes":["view"]}]`, "400 error=invalid_resource_id", "201 jwt:permissions.0.rsid=$id")}},
		{"K8 more members", []Step{register(), ask(`[{"resource_id":"$id","resource_scopes":["view"],"x":1}]`, "201", "400 !error_description"),
			ask(`[{"resource_id":"$id","resource_scopes":["view"],"claims":{"a":["b"]}}]`, "201", "")}},
		{"K9 unknown resource, unknown scope", []Step{register(), ask(`[{"resource_id":"nope","resource_scopes":["view"]}]`, "400 error=invalid_resource_id", ""),
			ask(`[{"resource_id":"","resource_scopes":["view"]}]`, "400 error=invalid_resource_id", ""),
			ask(`[{"resource_id":"$id","resource_scopes":["fly"]}]`, "400 error=invalid_scope", ""),
			ask(`[{"resource_id":"$id","resource_scopes":["view"]},{"resource_id":"nope","resource_scopes":["view"]}]`, "400 error=invalid_resource_id", "")}},
		{"K9 a deleted resource", []Step{register(), {Do: "DELETE resource/$id", As: "pat alice", Want: "204"}, ask(view, "400 error=invalid_resource_id", "")}},
		{"K8 two owners", []Step{register(), {Do: "POST resource", As: "pat service", JSON: album, Want: "201 _id>other"},
			ask(`[{"resource_id":"$id","resource_scopes":["view"]},{"resource_id":"$other","resource_scopes":["view"]}]`, "400 error=invalid_resource_id", "201 jwt:permissions.1.rsid=$other"),
			ask(`[{"resource_id":"$other","resource_scopes":["view"]}]`, "400 error=invalid_resource_id", "201 jwt:permissions.0.rsid=$other"),
			{Do: "POST permission", As: "pat service", JSON: view, Want: "400 error=invalid_resource_id", Keycloak: "201 ticket"}}},
		{"the permission endpoint takes POST only", []Step{{Do: "GET permission", As: "pat alice", Want: "405"}}},
	}
}

func ticketCases() []Case {
	return []Case{
		{"K15 not a ticket", []Step{
			exchange("grant_type=$uma ticket=junk"+asBob, "400 error=invalid_grant", "403 error=invalid_ticket !ticket"),
			exchange("grant_type=$uma ticket="+asBob, "400 error=invalid_request", "403 error=invalid_ticket"),
			exchange("grant_type=$uma"+asBob, "400 error=invalid_request", "")}},
		{"K25 a ticket that is too long is ignored", []Step{
			exchange("grant_type=$uma ticket="+strings.Repeat("x", 4000)+asBob, "400 error=invalid_grant", "403 error=invalid_ticket"),
			exchange("grant_type=$uma ticket="+strings.Repeat("x", 4001)+asBob, "400 error=invalid_grant", "400 error=invalid_request")}},
		{"K26 a scope that an update leaves out", []Step{register(), {Do: "share $id bob view"}, {Do: "share $id bob print"},
			{Do: "PUT resource/$id", As: "pat alice", JSON: `{"name":"$name","resource_scopes":["view"],"ownerManagedAccess":true}`, Want: "200", Keycloak: "204"},
			{Do: "PUT resource/$id", As: "pat alice", JSON: `{"name":"$name","resource_scopes":["view","print"],"ownerManagedAccess":true}`, Want: "200", Keycloak: "204"},
			ticketFor(`[{"resource_id":"$id","resource_scopes":["print"]}]`), exchange(ticketGrant+asBob+quietly, "-", "403 error=access_denied"),
			ticketFor(view), exchange(ticketGrant+asBob, "200 access_token", "")}},
		{"K10 a ticket twice", []Step{register(), ticketFor(view), {Do: "share $id bob view"},
			exchange(ticketGrant+asBob, "200 access_token>rpt", ""), exchange(ticketGrant+asBob, "400 error=invalid_grant", "200 access_token"),
			introspect(hint+"token=$rpt", "200 active=false", "200 active=true")}},
		{"K15 the ticket of a deleted resource", []Step{register(), ticketFor(view), {Do: "DELETE resource/$id", As: "pat alice", Want: "204"},
			exchange(ticketGrant+asBob, "400 error=invalid_grant", "400 error=invalid_resource")}},
		{"K15 who turns a ticket in", []Step{register(), ticketFor(view),
			{Do: "POST token", As: "client printshop wrong", Form: ticketGrant + asBob, Want: "401 error=invalid_client", Keycloak: "401 error=unauthorized_client"},
			{Do: "POST token", Form: ticketGrant + asBob, Want: "401 error=invalid_client"},
			{Do: "POST token", Form: "client_id=printshop client_secret=printshop-secret " + ticketGrant + asBob + quietly, Want: "403 error=request_submitted", Keycloak: "403 error=access_denied"}}},
		{"K11 the party's own token", []Step{register(), ticketFor(view), {Do: "share $id bob view"},
			{Do: "POST token", As: "bearer junk", Form: ticketGrant, Want: "401 error=invalid_client", Keycloak: "400 error=invalid_grant"},
			{Do: "POST token", As: "bearer $bob.access", Form: ticketGrant, Want: "401 error=invalid_client", Keycloak: "200 jwt:preferred_username=bob upgraded=false"},
			{Do: "POST token", As: "bearer $carol.access", Form: ticketGrant + quietly, Want: "401 error=invalid_client", Keycloak: "403 error=access_denied"}}},
	}
}

func claimCases() []Case {
	claim := func(of string) string { return " claim_token=" + of + " claim_token_format=$format" + quietly }
	const format = " claim_token_format="
	return []Case{
		{"K16 nobody is named", []Step{register(), ticketFor(view), {Do: "share $id bob view"},
			exchange(ticketGrant+quietly, "403 error=need_info ticket required_claims.0.claim_token_format", "403 error=access_denied error_description=not_authorized !ticket")}},
		{"K13 formats", []Step{register(), ticketFor(view),
			exchange(ticketGrant+" claim_token=$bob.id"+format+"https://openid.net/specs/openid-connect-core-1_0.html#IDToken", "400 error=invalid_request", ""),
			exchange(ticketGrant+" claim_token=$bob.id"+format+"urn:x", "400 error=invalid_request", ""),
			exchange(ticketGrant+format+"$format", "400 error=invalid_request", "")}},
		{"a claim token without its format", []Step{register(), ticketFor(view), {Do: "share $id bob view"},
			exchange(ticketGrant+" claim_token=$bob.id", "400 error=invalid_request", "200 jwt:preferred_username=bob")}},
		{"K11 an ID Token for another client", []Step{register(), ticketFor(view), {Do: "share $id bob view"},
			exchange(ticketGrant+claim("$bob.id@photoz"), "403 error=need_info ticket", "400 error=invalid_claim_token !ticket")}},
		{"K11 junk for a claim token", []Step{register(), ticketFor(view),
			exchange(ticketGrant+claim("junk"), "403 error=need_info ticket", "400 error=unauthorized_client !ticket")}},
		{"K11 an access token for a claim token", []Step{register(), ticketFor(view), {Do: "share $id bob view"},
			exchange(ticketGrant+claim("$bob.access"), "403 error=need_info", "200 jwt:preferred_username=bob")}},
		{"K11 the session of the ID Token has ended", []Step{register(), ticketFor(view), {Do: "share $id bob view"},
			exchange(ticketGrant+claim("$bob.id"), "200 access_token>rpt", ""), introspect(hint+"token=$rpt", "200 active=true", ""),
			ticketFor(view), {Do: "sign out bob"},
			exchange(ticketGrant+claim("$bob.id"), "200 access_token", "400 error=unauthorized_client"),
			introspect(hint+"token=$rpt", "200 active=true", "200 active=false")}},
	}
}

func grantCases() []Case {
	two := `[{"resource_id":"$id","resource_scopes":["view","delete"]}]`
	return []Case{
		{"K14 refused, and nobody is asked", []Step{register(), ticketFor(view),
			exchange(ticketGrant+asBob+quietly, "403 error=request_submitted ticket interval", "403 error=access_denied error_description=not_authorized !ticket !interval")}},
		{"K14 the owner is not asked if told so", []Step{register(), ticketFor(view), exchange(ticketGrant+asBob+quietly, "403", ""), {Do: "pending $id", Want: "1", Keycloak: "0"}}},
		{"K14 the owner is asked unless told not to", []Step{register(), ticketFor(view),
			exchange(ticketGrant+asBob, "403 error=request_submitted ticket", "403 error=access_denied error_description=request_submitted !ticket !interval"), {Do: "pending $id", Want: "1"}}},
		{"K14 asked for what nobody decides", []Step{{Do: "POST resource", As: "pat service", JSON: album, Want: "201 _id>id"},
			{Do: "POST permission", As: "pat service", JSON: view, Want: "201 ticket>t"},
			exchange(ticketGrant+asBob, "403 error=request_denied", "403 error=access_denied error_description=request_submitted")}},
		{"K18 granted", []Step{register(), ticketFor(view), {Do: "share $id bob view"},
			exchange(ticketGrant+asBob, "200 access_token token_type=Bearer expires_in !scope !upgraded !refresh_token",
				"200 access_token token_type=Bearer expires_in refresh_token !scope upgraded=false jwt:aud=photoz jwt:azp=printshop jwt:preferred_username=bob jwt:authorization.permissions.0.rsid=$id jwt:authorization.permissions.0.rsname=$name jwt:authorization.permissions.0.scopes=view")}},
		{"somebody else is not let in", []Step{register(), ticketFor(view), {Do: "share $id bob view"},
			exchange(ticketGrant+" claim_token=$carol.id claim_token_format=$format"+quietly, "403 error=request_submitted", "403 error=access_denied")}},
		{"an owner at her own album", []Step{register(), ticketFor(view),
			exchange(ticketGrant+" claim_token=$alice.id claim_token_format=$format"+quietly, "200 access_token", "403 error=access_denied"),
			{Do: "share $id bob view"}, ticketFor(two), // now there is a policy, and it lets her in too
			exchange(ticketGrant+" claim_token=$alice.id claim_token_format=$format"+quietly, "200 access_token", "200 jwt:authorization.permissions.0.scopes=view")}},
		{"K19 a part is granted", []Step{register(), ticketFor(two), {Do: "share $id bob view"},
			exchange(ticketGrant+asBob+quietly, "403 error=request_submitted", "200 jwt:authorization.permissions.0.scopes=view")}},
		{"K14 a part is granted and the rest is asked for", []Step{register(), ticketFor(two), {Do: "share $id bob view"},
			exchange(ticketGrant+asBob, "403 error=request_submitted", "200 access_token"), {Do: "pending $id", Want: "1"}}},
		{"K19 one of two resources", []Step{register(), {Do: "POST resource", As: "pat alice", JSON: `{"name":"x$name","resource_scopes":["view"],"ownerManagedAccess":true}`, Want: "201 _id>other"},
			ticketFor(`[{"resource_id":"$id","resource_scopes":["view"]},{"resource_id":"$other","resource_scopes":["view"]}]`), {Do: "share $id bob view"},
			exchange(ticketGrant+asBob+quietly, "403 error=request_submitted", "200 jwt:authorization.permissions.0.rsid=$id !jwt:authorization.permissions.1")}},
		{"K8 two entries for one resource", []Step{register(), {Do: "share $id bob view"}, {Do: "share $id bob print"},
			ticketFor(`[{"resource_id":"$id","resource_scopes":["print"]},{"resource_id":"$id","resource_scopes":["view"]}]`),
			exchange(ticketGrant+asBob, "200 access_token>rpt", "200 access_token>rpt jwt:authorization.permissions.0.scopes=print"),
			introspect(hint+"token=$rpt", "200 permissions.0.resource_scopes=print,view !permissions.1", "200 permissions.0.resource_scopes=print !permissions.1")}},
		{"K20 a ticket without scopes", []Step{register(), {Do: "share $id bob view"}, {Do: "share $id bob print"},
			ticketFor(`[{"resource_id":"$id","resource_scopes":[]}]`),
			exchange(ticketGrant+asBob+quietly, "403 error=request_denied", "200 jwt:authorization.permissions.0.scopes=print,view")}},
		{"K23 scopes beside the ticket's", []Step{register(), ticketFor(view), {Do: "share $id bob view"},
			exchange(ticketGrant+" scope=fly"+asBob+quietly, "400 error=invalid_scope", "200 jwt:authorization.permissions.0.scopes=view"), ticketFor(view),
			exchange(ticketGrant+" scope=fly"+asBob, "400 error=invalid_scope", "500 error=server_error"), ticketFor(view),
			exchange(ticketGrant+" scope=print"+asBob+quietly, "403 error=request_submitted", "200 jwt:authorization.permissions.0.scopes=view"), ticketFor(view), {Do: "share $id bob print"},
			exchange(ticketGrant+" scope=print"+asBob, "200 access_token", "200 jwt:authorization.permissions.0.scopes=print,view")}},
	}
}

func upgradeCases() []Case {
	print := `[{"resource_id":"$id","resource_scopes":["print"]}]`
	// held leaves an RPT with view in rpt.
	held := []Step{register(), {Do: "share $id bob view"}, ticketFor(view), exchange(ticketGrant+asBob, "200 access_token>rpt", "")}
	after := func(more ...Step) []Step { return append(held[:len(held):len(held)], more...) }
	return []Case{
		{"K24 upgraded", after(Step{Do: "share $id bob print"}, ticketFor(print),
			exchange(ticketGrant+" rpt=$rpt"+asBob, "200 upgraded=true access_token>new", ""),
			introspect(hint+"token=$new", "200 active=true permissions.0.resource_scopes=print,view", ""),
			introspect(hint+"token=$rpt", "200 active=false", "200 active=true"))},
		{"K24 what was held is no longer granted", after(Step{Do: "share $id bob print"}, Step{Do: "take back $id bob view"}, ticketFor(print),
			exchange(ticketGrant+" rpt=$rpt"+asBob, "200 !upgraded access_token>new", "200 upgraded=false access_token>new"),
			introspect(hint+"token=$new", "200 permissions.0.resource_scopes=print", ""))},
		{"K19 all or nothing with an RPT", after(Step{Do: "POST permission", As: "pat alice", JSON: `[{"resource_id":"$id","resource_scopes":["view","print"]}]`, Want: "201 ticket>t"},
			exchange(ticketGrant+" rpt=$rpt"+asBob+quietly, "403 error=request_submitted", "403 error=access_denied !ticket"))},
		{"without offering the RPT it is another one", after(Step{Do: "share $id bob print"}, ticketFor(print),
			exchange(ticketGrant+asBob, "200 access_token>new !upgraded", "200 access_token>new upgraded=false"),
			introspect(hint+"token=$new", "200 permissions.0.resource_scopes=print", ""), introspect(hint+"token=$rpt", "200 permissions.0.resource_scopes=view", ""))},
		{"K15 not an RPT", after(ticketFor(view), exchange(ticketGrant+" rpt=junk"+asBob, "200 access_token !upgraded", "403 error=invalid_rpt"), ticketFor(view),
			exchange(ticketGrant+" rpt="+asBob, "200 access_token !upgraded", "403 error=invalid_rpt"))},
		{"K24 an ordinary token for an RPT", after(ticketFor(view), exchange(ticketGrant+" rpt=$bob.access"+asBob, "200 !upgraded", "200 upgraded=true"), ticketFor(view),
			exchange(ticketGrant+" rpt=$carol.access"+asBob, "200 !upgraded", "200 upgraded=true"))},
		{"K25 an RPT that is too long is ignored", after(Step{Do: "share $id bob print"}, ticketFor(print),
			exchange(ticketGrant+" rpt="+strings.Repeat("x", 4001)+asBob, "200 access_token !upgraded", "200 access_token upgraded=false"), ticketFor(print),
			exchange(ticketGrant+" rpt="+strings.Repeat("x", 4000)+asBob, "200 access_token !upgraded", "403 error=invalid_rpt"))},
		{"K18 refreshed", []Step{register(), {Do: "share $id bob view"}, ticketFor(view),
			exchange(ticketGrant+asBob, "200 access_token>rpt !refresh_token", "200 access_token>rpt refresh_token>r"),
			exchange("grant_type=refresh_token refresh_token=$r", "-", "200 access_token>new jwt:authorization.permissions.0.rsid=$id"),
			introspect(hint+"token=$new", "-", "200 active=false !permissions")}},
	}
}

func introspectionCases() []Case {
	rpt := []Step{register(), {Do: "share $id bob view"}, ticketFor(view), exchange(ticketGrant+asBob, "200 access_token>rpt", "")}
	after := func(more ...Step) []Step { return append(rpt[:len(rpt):len(rpt)], more...) }
	return []Case{
		{"K17 an RPT", after(introspect(hint+"token=$rpt",
			"200 active=true permissions.0.resource_id=$id permissions.0.resource_scopes=view permissions.0.exp !scope client_id=printshop sub exp iat iss",
			"200 active=true permissions.0.resource_id=$id permissions.0.resource_scopes=view permissions.0.rsid=$id permissions.0.rsname=$name permissions.0.scopes=view !permissions.0.exp !scope !client_id !sub !iss !token_type aud=photoz typ=Bearer acr exp iat jti"))},
		{"K17 without the hint", after(introspect("token=$rpt", "200 active=true permissions !scope", "200 active=true !permissions sub username=bob client_id=printshop iss=$issuer"),
			introspect("token_type_hint=access_token token=$rpt", "200 active=true permissions", "200 active=true !permissions"))},
		{"K17 with the PAT", after(Step{Do: "POST introspect", As: "pat alice", Form: hint + "token=$rpt", Want: "200 active=true permissions", Keycloak: "401 error=invalid_client"})},
		{"K17 who may ask", after(Step{Do: "POST introspect", As: "client printshop", Form: hint + "token=$rpt", Want: "200 active=false !permissions"},
			Step{Do: "POST introspect", As: "client photoz wrong", Form: hint + "token=$rpt", Want: "401 error=invalid_client"},
			Step{Do: "POST introspect", Form: hint + "token=$rpt", Want: "401 error=invalid_client"},
			Step{Do: "POST introspect", As: "client photoz", Form: hint, Want: "400 error=invalid_request"})},
		{"K17 not an RPT", []Step{introspect(hint+"token=junk", "200 active=false !permissions", ""),
			introspect(hint+"token=$bob.access", "200 active=true scope !permissions", "200 active=false"),
			introspect(hint+"token=$alice.access", "200 active=true !permissions", "200 active=true !permissions !scope !sub"), // photoz is in aud: alice has a role there
			introspect("token=$alice.access", "200 active=true !permissions", "200 active=true !permissions sub username=alice"),
			introspect(hint+"token=$bob.id", "200 active=false", "200 active=false")}},
		{"K17 the PAT itself", []Step{introspect("token=$alice.access@photoz", "200 active=true", "200 active=false")}},
	}
}

func lifeCases() []Case {
	rpt := []Step{register(), {Do: "share $id bob view"}, ticketFor(view), exchange(ticketGrant+asBob, "200 access_token>rpt", "")}
	after := func(more ...Step) []Step { return append(rpt[:len(rpt):len(rpt)], more...) }
	return []Case{
		{"K22 taken back", after(Step{Do: "take back $id bob view"}, introspect(hint+"token=$rpt", "200 active=false", "200 active=true permissions.0.resource_scopes=view"), ticketFor(view),
			exchange(ticketGrant+asBob+quietly, "403 error=request_denied", "403 error=access_denied error_description=not_authorized"))},
		{"K22 the scope is gone", after(Step{Do: "PUT resource/$id", As: "pat alice", JSON: `{"name":"$name","resource_scopes":["print"],"ownerManagedAccess":true}`, Want: "200", Keycloak: "204"},
			introspect(hint+"token=$rpt", "200 active=false", "200 active=true permissions.0.resource_scopes=view"))},
		{"K22 the resource is gone", after(Step{Do: "DELETE resource/$id", As: "pat alice", Want: "204"}, introspect(hint+"token=$rpt", "200 active=false", "200 active=true permissions.0.resource_id=$id"))},
		{"an RPT is revoked", after(Step{Do: "POST revoke", As: "client printshop", Form: "token=$rpt", Want: "200"}, introspect(hint+"token=$rpt", "200 active=false", ""))},
		{"K10 the PAT of the ticket is revoked", []Step{register(), {Do: "share $id bob view"}, ticketFor(view),
			{Do: "POST revoke", As: "client photoz", Form: "token=$alice.access@photoz", Want: "200"}, exchange(ticketGrant+asBob, "200 access_token", "")}},
	}
}
